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

    /// <summary>Median milliseconds of one of the launches that <paramref name="work"/> enqueues, captured into a graph.</summary>
    /// <inheritdoc cref="Median"/>
    public double MedianOfGraph(int repeats, int launches, Action work, Action? before = null)
    {
        using var graph = stream.Capture(work);
        return Median(repeats, () => graph.Launch(stream), before) / launches;
    }

    public void Dispose()
    {
        _start.Dispose();
        _end.Dispose();
    }
}
