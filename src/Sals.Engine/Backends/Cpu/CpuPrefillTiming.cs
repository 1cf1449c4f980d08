using System.Diagnostics;

namespace Sals.Engine.Backends.Cpu;

/// <summary>Measures <see cref="PrefillCost"/> before the first request.</summary>
internal static class CpuPrefillTiming
{
    private static readonly TimeSpan WarmUp = TimeSpan.FromMilliseconds(120);

    /// <summary>Times one layer at the start of a prompt and behind up to 512 tokens, fewer for a large model.</summary>
    /// <param name="chunk">Tokens that go through a layer together.</param>
    public static PrefillCost Measure(CpuForward forward, CpuWeights weights, int chunk)
    {
        double layerFlops = 2.0 * weights.Layers[0].Bytes / (weights.Layers[0].Down.IsNarrow ? 2 : 4);
        var length = Math.Min(forward.Lanes[0].Length, Math.Max(16, (int)Math.Min(512, 2e9 / layerFlops)));
        var count = Math.Min(chunk, length);
        for (var first = 0; first < length; first += count)
        {
            forward.RunLayerForTiming(first, Math.Min(count, length - first));
        }

        // the two are timed in turn, each at its best, for long enough that compiled code replaces what the first calls ran
        var (begin, end) = (double.MaxValue, double.MaxValue);
        var started = Stopwatch.GetTimestamp();
        do
        {
            begin = Math.Min(begin, Time(0));
            end = Math.Min(end, Time(length - count));
        }
        while (Stopwatch.GetElapsedTime(started) < WarmUp);

        var pairs = Math.Max(1.0, length - count);
        var perPair = Math.Max(1e-9, (end - begin) / (count * pairs));
        return PrefillCost.Linear(Math.Max(1e-6, (begin / count) - (perPair * count / 2)), perPair);

        double Time(int first)
        {
            var start = Stopwatch.GetTimestamp();
            forward.RunLayerForTiming(first, count);
            return Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        }
    }
}
