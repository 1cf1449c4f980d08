using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;
using Sals.Engine.Paging;

namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>
/// o[g] = softmax(q[g] . K[t] / sqrt(DH)) V[t] over t &lt; length: the G query heads of one KV head of one row against pages.
/// Tokens are visited in order, so the result depends on the length only.
/// </summary>
internal static class DenseAttend
{
    private const int Lanes = 16;

    /// <param name="q">[G, DH] after rope.</param>
    /// <param name="cache">Pages of the dense or hot pool: K and V [P, HK, DH] per layer.</param>
    /// <param name="length">Tokens attended to, at least 1.</param>
    /// <param name="scores">[G, length], workspace.</param>
    /// <param name="o">[G, DH]</param>
    public static void Run(
        ReadOnlySpan<float> q, CpuCache cache, PoolKind pool, int slot, int layer, int kvHead, int headSize, int length, Span<float> scores, Span<float> o)
    {
        var group = q.Length / headSize;
        var stride = cache.Layout.KeyWidth;
        for (var t = 0; t < length; t += PageLayout.PageSize)
        {
            var count = Math.Min(PageLayout.PageSize, length - t);
            var keys = cache.Keys(pool, slot, t / PageLayout.PageSize, layer)[(kvHead * headSize)..];
            for (var g = 0; g < group; g++)
            {
                Score(q.Slice(g * headSize, headSize), keys, stride, scores.Slice((g * length) + t, count));
            }
        }

        o.Clear();
        Span<float> total = stackalloc float[group];
        for (var g = 0; g < group; g++)
        {
            total[g] = Softmax.Run(scores.Slice(g * length, length), 1 / MathF.Sqrt(headSize));
        }

        for (var t = 0; t < length; t += PageLayout.PageSize)
        {
            var count = Math.Min(PageLayout.PageSize, length - t);
            var values = cache.Values(pool, slot, t / PageLayout.PageSize, layer)[(kvHead * headSize)..];
            for (var g = 0; g < group; g++)
            {
                Accumulate(scores.Slice((g * length) + t, count), values, stride, o.Slice(g * headSize, headSize));
            }
        }

        for (var i = 0; i < o.Length; i++)
        {
            o[i] /= total[i / headSize];
        }
    }

    /// <summary>scores[t] = q . keys[t]; two partial sums of 16 lanes, then their total.</summary>
    /// <param name="keys">Rows of <paramref name="stride"/>, the first DH of each.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Score(ReadOnlySpan<float> q, ReadOnlySpan<float> keys, int stride, Span<float> scores)
    {
        ref var query = ref MemoryMarshal.GetReference(q);
        var pairs = (nuint)(q.Length & ~((2 * Lanes) - 1));
        for (var t = 0; t < scores.Length; t++)
        {
            ref var key = ref MemoryMarshal.GetReference(keys.Slice(t * stride, q.Length));
            Vector512<float> a = default, b = default;
            nuint i = 0;
            for (; i < pairs; i += 2 * Lanes)
            {
                a = Vector512.FusedMultiplyAdd(Vector512.LoadUnsafe(ref query, i), Vector512.LoadUnsafe(ref key, i), a);
                b = Vector512.FusedMultiplyAdd(Vector512.LoadUnsafe(ref query, i + Lanes), Vector512.LoadUnsafe(ref key, i + Lanes), b);
            }

            if (i + Lanes <= (nuint)q.Length)
            {
                a = Vector512.FusedMultiplyAdd(Vector512.LoadUnsafe(ref query, i), Vector512.LoadUnsafe(ref key, i), a);
                i += Lanes;
            }

            var sum = Vector512.Sum(a + b);
            for (; i < (nuint)q.Length; i++)
            {
                sum = MathF.FusedMultiplyAdd(Unsafe.Add(ref query, i), Unsafe.Add(ref key, i), sum);
            }

            scores[t] = sum;
        }
    }

    /// <summary>o += sum over t of weights[t] * values[t], t ascending.</summary>
    /// <param name="values">Rows of <paramref name="stride"/>, the first DH of each.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Accumulate(ReadOnlySpan<float> weights, ReadOnlySpan<float> values, int stride, Span<float> o)
    {
        var i = 0;
        for (; i <= o.Length - (4 * Lanes); i += 4 * Lanes)
        {
            ref var target = ref MemoryMarshal.GetReference(o.Slice(i, 4 * Lanes));
            var a = Vector512.LoadUnsafe(ref target);
            var b = Vector512.LoadUnsafe(ref target, Lanes);
            var c = Vector512.LoadUnsafe(ref target, 2 * Lanes);
            var d = Vector512.LoadUnsafe(ref target, 3 * Lanes);
            for (var t = 0; t < weights.Length; t++)
            {
                ref var value = ref MemoryMarshal.GetReference(values.Slice((t * stride) + i, 4 * Lanes));
                var weight = Vector512.Create(weights[t]);
                a = Vector512.FusedMultiplyAdd(weight, Vector512.LoadUnsafe(ref value), a);
                b = Vector512.FusedMultiplyAdd(weight, Vector512.LoadUnsafe(ref value, Lanes), b);
                c = Vector512.FusedMultiplyAdd(weight, Vector512.LoadUnsafe(ref value, 2 * Lanes), c);
                d = Vector512.FusedMultiplyAdd(weight, Vector512.LoadUnsafe(ref value, 3 * Lanes), d);
            }

            a.StoreUnsafe(ref target);
            b.StoreUnsafe(ref target, Lanes);
            c.StoreUnsafe(ref target, 2 * Lanes);
            d.StoreUnsafe(ref target, 3 * Lanes);
        }

        for (; i < o.Length; i++)
        {
            var sum = o[i];
            for (var t = 0; t < weights.Length; t++)
            {
                sum = MathF.FusedMultiplyAdd(weights[t], values[(t * stride) + i], sum);
            }

            o[i] = sum;
        }
    }
}
