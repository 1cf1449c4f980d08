using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>Device time of work on a stream, by events.</summary>
internal sealed class DeviceTimer(CudaStream stream) : IDisposable
{
    private readonly CudaEvent _start = new(timing: true);
    private readonly CudaEvent _end = new(timing: true);

    /// <summary>Median milliseconds of <paramref name="work"/> over <paramref name="repeats"/> runs after one that does not count.</summary>
    /// <param name="before">Run ahead of each and not timed: sets back what the work moves.</param>
    public double Median(int repeats, Action work, Action? before = null)
    {
        before?.Invoke();
        work();
        var times = new double[repeats];
        for (var i = 0; i < repeats; i++)
        {
            before?.Invoke();
            times[i] = Once(work);
        }

        Array.Sort(times);
        return times[repeats / 2];
    }

    /// <summary>Milliseconds of one run.</summary>
    public double Once(Action work)
    {
        _start.Record(stream);
        work();
        _end.Record(stream);
        _end.Wait();
        return _end.MillisecondsSince(_start);
    }

    /// <summary>Median milliseconds of <paramref name="work"/>, captured several times into one graph: enough that launching the graph does not count.</summary>
    /// <inheritdoc cref="Median"/>
    /// <param name="times">That the graph holds the work.</param>
    public double MedianOfGraph(int repeats, int times, Action work, Action? before = null)
    {
        using var graph = stream.Capture(() =>
        {
            for (var i = 0; i < times; i++)
            {
                work();
            }
        });
        return Median(repeats, () => graph.Launch(stream), before) / times;
    }

    public void Dispose()
    {
        _start.Dispose();
        _end.Dispose();
    }
}
