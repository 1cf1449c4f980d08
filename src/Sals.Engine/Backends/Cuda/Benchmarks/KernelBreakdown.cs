using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda.Benchmarks;

/// <summary>One kind of launch of a step: those of one entry that come at the same place in every layer.</summary>
/// <param name="Launches">In one step.</param>
/// <param name="Microseconds">Of one launch, alone in a graph with its likes of all layers, so that weights and pages come from memory and not from a cache.</param>
public sealed record KernelFigure(string Name, int Launches, double Microseconds)
{
    public double Total => Launches * Microseconds;
}

/// <summary>Where the time of a forward goes: every kind of launch timed without the others.</summary>
internal static class KernelBreakdown
{
    /// <param name="work">Enqueues the forward.</param>
    /// <param name="captured">Time graphs; else the launches as they are enqueued, which for short kernels measures the host.</param>
    /// <param name="wanted">Names to look at; null = all.</param>
    /// <param name="before">With graphs, run ahead of each and not timed.</param>
    /// <param name="forwards">Of a graph, see <see cref="DeviceTimer.MedianOfGraph"/>.</param>
    public static KernelFigure[] Measure(
        CudaStream stream,
        DeviceTimer timer,
        int layers,
        bool captured,
        int repeats,
        Action work,
        Func<string, bool>? wanted = null,
        Action? before = null,
        int forwards = 1)
    {
        // what is launched, in order, without running it
        var names = new List<string>();
        Filtered(stream, work, name =>
        {
            names.Add(name);
            return false;
        });
        var counts = names.CountBy(name => name).ToDictionary();
        var seen = new Dictionary<string, int>();
        var kinds = names.ConvertAll(name =>
        {
            var index = seen[name] = seen.GetValueOrDefault(name, -1) + 1;
            var perLayer = counts[name] / layers;
            return perLayer > 1 && perLayer < 8 && index < perLayer * layers ? $"{name} {(index % perLayer) + 1}/{perLayer}" : name;
        });

        return [.. kinds.Zip(names).Where(pair => wanted?.Invoke(pair.Second) ?? true).CountBy(pair => pair.First)
            .Select(kind => new KernelFigure(kind.Key, kind.Value, Milliseconds(kind.Key) * 1e3 / kind.Value))];

        double Milliseconds(string kind)
        {
            return captured ? timer.MedianOfGraph(repeats, forwards, Run, before) : timer.Median(repeats, Run);

            void Run()
            {
                var at = 0;
                Filtered(stream, work, _ => kinds[at++] == kind);
            }
        }
    }

    /// <summary>Median milliseconds of a forward's launches that <paramref name="wanted"/> names, one behind the other in a graph.</summary>
    /// <inheritdoc cref="Measure"/>
    public static double Time(CudaStream stream, DeviceTimer timer, int repeats, Action work, Func<string, bool> wanted, int forwards) =>
        timer.MedianOfGraph(repeats, forwards, () => Filtered(stream, work, wanted));

    private static void Filtered(CudaStream stream, Action work, Func<string, bool> filter)
    {
        stream.Filter = filter;
        try
        {
            work();
        }
        finally
        {
            stream.Filter = null;
        }
    }
}
