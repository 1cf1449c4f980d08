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
    /// <param name="cache">Pages of the dense or hot pool: K and V [P, HK, DH] per layer, int8 codes read as what they stand for.</param>
    /// <param name="length">Tokens attended to, at least 1.</param>
    /// <param name="scores">[G, length], workspace.</param>
    /// <param name="o">[G, DH]</param>
    public static void Run(
        ReadOnlySpan<float> q, CpuCache cache, PoolKind pool, int slot, int layer, int kvHead, int headSize, int length, Span<float> scores, Span<float> o)
    {
        var group = q.Length / headSize;
        var stride = cache.IsCoded(pool) ? headSize : cache.Layout.KeyWidth;
        Span<float> decoded = stackalloc float[cache.IsCoded(pool) ? PageLayout.PageSize * headSize : 0];
        for (var t = 0; t < length; t += PageLayout.PageSize)
        {
            var count = Math.Min(PageLayout.PageSize, length - t);
            var keys = Rows(values: false, t, count, decoded);
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
            var values = Rows(values: true, t, count, decoded);
            for (var g = 0; g < group; g++)
            {
                Accumulate(scores.Slice((g * length) + t, count), values, stride, o.Slice(g * headSize, headSize));
            }
        }

        for (var i = 0; i < o.Length; i++)
        {
            o[i] /= total[i / headSize];
        }

        // rows of `stride` that begin with the head's keys or values of tokens t onwards
        ReadOnlySpan<float> Rows(bool values, int t, int count, Span<float> decoded)
        {
            var page = t / PageLayout.PageSize;
            if (!cache.IsCoded(pool))
            {
                return (values ? cache.Values(pool, slot, page, layer) : cache.Keys(pool, slot, page, layer))[(kvHead * headSize)..];
            }

            var planes = cache.Coded(slot, page, layer);
            for (var i = 0; i < count; i++)
            {
                planes.LoadHead(values, i, kvHead, decoded.Slice(i * headSize, headSize));
            }

            return decoded;
        }
    }

    /// <summary>scores[t] = q . keys[t]; two partial sums of 16 lanes, then their total.</summary>
    /// <param name="keys">Rows of <paramref name="stride"/>, the first DH of each.</param>
    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    internal static void Score(ReadOnlySpan<float> q, ReadOnlySpan<float> keys, int stride, Span<float> scores)
    {
        ref var query = ref MemoryMarshal.GetReference(q);
        var pairs = (nuint)(q.Length & ~((2 * Lanes) - 1));
        var t = 0;
        if (pairs == (nuint)q.Length)
        {
            // four keys at a time keep the multipliers busy while sums are still on their way; each key's own order is the same
            for (; t + 4 <= scores.Length; t += 4)
            {
                ref var k0 = ref MemoryMarshal.GetReference(keys.Slice(t * stride, (3 * stride) + q.Length));
                ref var k1 = ref Unsafe.Add(ref k0, stride);
                ref var k2 = ref Unsafe.Add(ref k1, stride);
                ref var k3 = ref Unsafe.Add(ref k2, stride);
                Vector512<float> a0 = default, a1 = default, a2 = default, a3 = default, b0 = default, b1 = default, b2 = default, b3 = default;
                for (nuint i = 0; i < pairs; i += 2 * Lanes)
                {
                    var low = Vector512.LoadUnsafe(ref query, i);
                    var high = Vector512.LoadUnsafe(ref query, i + Lanes);
                    a0 = Vector512.FusedMultiplyAdd(low, Vector512.LoadUnsafe(ref k0, i), a0);
                    b0 = Vector512.FusedMultiplyAdd(high, Vector512.LoadUnsafe(ref k0, i + Lanes), b0);
                    a1 = Vector512.FusedMultiplyAdd(low, Vector512.LoadUnsafe(ref k1, i), a1);
                    b1 = Vector512.FusedMultiplyAdd(high, Vector512.LoadUnsafe(ref k1, i + Lanes), b1);
                    a2 = Vector512.FusedMultiplyAdd(low, Vector512.LoadUnsafe(ref k2, i), a2);
                    b2 = Vector512.FusedMultiplyAdd(high, Vector512.LoadUnsafe(ref k2, i + Lanes), b2);
                    a3 = Vector512.FusedMultiplyAdd(low, Vector512.LoadUnsafe(ref k3, i), a3);
                    b3 = Vector512.FusedMultiplyAdd(high, Vector512.LoadUnsafe(ref k3, i + Lanes), b3);
                }

                scores[t] = Vector512.Sum(a0 + b0);
                scores[t + 1] = Vector512.Sum(a1 + b1);
                scores[t + 2] = Vector512.Sum(a2 + b2);
                scores[t + 3] = Vector512.Sum(a3 + b3);
            }
        }

        for (; t < scores.Length; t++)
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
