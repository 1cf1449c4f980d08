using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>Measures <see cref="PrefillCost"/> before the first request. Products take time by tiles, not by rows: chunks are timed by size.</summary>
internal static class PrefillTiming
{
    private const int Sizes = 8;

    /// <summary>Times one layer for chunks of growing size at the start of a prompt and for one as far behind as the lane reaches, and the head.</summary>
    /// <param name="length">Tokens of the first lane.</param>
    /// <param name="chunk">Tokens that go through a layer together.</param>
    public static PrefillCost Measure(CudaForward forward, CudaStream stream, int length, int chunk)
    {
        using var timer = new DeviceTimer(stream);
        var layer = new double[Sizes];
        for (var i = 0; i < Sizes; i++)
        {
            // sizes beyond the lane never occur
            var rows = Math.Min(length, (i + 1) * chunk / Sizes);
            layer[i] = Time(() => forward.RunLayerForTiming(0, rows));
        }

        var count = Math.Min(chunk, length);
        var far = Math.Min(length - count, 16 * chunk);
        var perPair = far > 0 ? (Time(() => forward.RunLayerForTiming(far, count)) - layer[^1]) / ((double)count * far) : 0;
        return new PrefillCost(chunk, layer, Math.Max(1e-12, perPair), Time(() => forward.SampleFinals(1, 0, 1)));

        // the faster of two runs, after one that makes cuBLASLt's layouts
        double Time(Action run)
        {
            timer.Once(run);
            return Math.Min(timer.Once(run), timer.Once(run));
        }
    }
}
