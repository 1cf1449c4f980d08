using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>The numerator and denominator of a softmax; the caller divides after weighting, once per output instead of once per key.</summary>
internal static class Softmax
{
    /// <summary>scores[i] = exp(scale * (scores[i] - max)); returns their sum.</summary>
    /// <param name="scores">[T], T at least 1, finite.</param>
    public static float Run(Span<float> scores, float scale)
    {
        TensorPrimitives.Subtract(scores, TensorPrimitives.Max<float>(scores), scores);
        TensorPrimitives.Multiply(scores, scale, scores);
        TensorPrimitives.Exp<float>(scores, scores);
        return Sum(scores);
    }

    /// <summary>Lanes of 16 partial sums, then the lanes in order: the order depends on the length only, not on the address.</summary>
    private static float Sum(ReadOnlySpan<float> x)
    {
        var sums = Vector512<float>.Zero;
        var blocks = MemoryMarshal.Cast<float, Vector512<float>>(x);
        foreach (var block in blocks)
        {
            sums += block;
        }

        var sum = 0f;
        for (var lane = 0; lane < Vector512<float>.Count; lane++)
        {
            sum += sums[lane];
        }

        foreach (var tail in x[(blocks.Length * Vector512<float>.Count)..])
        {
            sum += tail;
        }

        return sum;
    }
}
