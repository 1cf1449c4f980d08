using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>y[i] = x[i] / sqrt(mean(x^2) + epsilon) * gamma[i], one row. Zhang, Sennrich, "Root Mean Square Layer Normalization" (2019).</summary>
internal static class RmsNorm
{
    /// <param name="x">[N], N at least 1.</param>
    /// <param name="gamma">[N]</param>
    /// <param name="y">[N], may be <paramref name="x"/>.</param>
    public static void Run(ReadOnlySpan<float> x, ReadOnlySpan<float> gamma, float epsilon, Span<float> y)
    {
        var scale = 1 / MathF.Sqrt((SumOfSquares(x) / x.Length) + epsilon);
        gamma = gamma[..x.Length];
        y = y[..x.Length];
        var wide = x.Length & ~(Vector512<float>.Count - 1);
        for (var i = 0; i < wide; i += Vector512<float>.Count)
        {
            var normed = Vector512.Create(x.Slice(i, Vector512<float>.Count)) * scale;
            (normed * Vector512.Create(gamma.Slice(i, Vector512<float>.Count))).CopyTo(y[i..]);
        }

        for (var i = wide; i < x.Length; i++)
        {
            y[i] = x[i] * scale * gamma[i];
        }
    }

    /// <summary>Lanes of 16 partial sums, then the lanes in order; the order depends on the length only.</summary>
    private static float SumOfSquares(ReadOnlySpan<float> x)
    {
        var sums = Vector512<float>.Zero;
        var blocks = MemoryMarshal.Cast<float, Vector512<float>>(x);
        foreach (var block in blocks)
        {
            sums = Vector512.FusedMultiplyAdd(block, block, sums);
        }

        var sum = 0f;
        for (var lane = 0; lane < Vector512<float>.Count; lane++)
        {
            sum += sums[lane];
        }

        foreach (var tail in x[(blocks.Length * Vector512<float>.Count)..])
        {
            sum = MathF.FusedMultiplyAdd(tail, tail, sum);
        }

        return sum;
    }
}
