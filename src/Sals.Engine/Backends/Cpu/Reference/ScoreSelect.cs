using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Sals.Engine.Latent;

namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>
/// Scores cached tokens in latent space and keeps the best (paper section 3, stage 1): score_j = scoring query . leading RS coordinates of latent j,
/// without rope; no softmax, no position. Ties go to the smaller position, so that the set is defined on every device.
/// </summary>
internal static class ScoreSelect
{
    /// <summary>Largest magnitude of a query coordinate in the int8 score: 127 * 128 + 63, two int8 halves; 127 * 16319 * 1024 fits in 31 bits.</summary>
    public const int QueryRange = 16319;

    // latents widened to float32 at a time
    private const int WidenedRows = 8;

    /// <summary>Scores of n tokens; float32 sums, or for int8 latents exact integers (see <see cref="QuantiseQuery"/>).</summary>
    /// <param name="query">[RS]</param>
    /// <param name="codes">[RS], the query in int8 scoring; unused for the other formats</param>
    /// <param name="plane">[n, RS] stored latents</param>
    /// <param name="keys">[n], order-preserving integers: larger is better, NaN is 0, the least</param>
    /// <param name="band">Of a query with others beside it (<see cref="ScoreBands"/>): what one code of the product is worth, with codes only, and what is added to every score.</param>
    public static void Score(
        ReadOnlySpan<float> query, ReadOnlySpan<int> codes, ReadOnlySpan<byte> plane, LatentFormat format, LatentBasisLayer basis, Span<uint> keys,
        (float Unit, float Bias)? band = null)
    {
        if (format.IsCoded() && band is null)
        {
            Span<int> latent = stackalloc int[query.Length];
            for (var t = 0; t < keys.Length; t++)
            {
                keys[t] = OrderedKey(Product(codes, plane, t, format, latent));
            }

            return;
        }

        var scores = MemoryMarshal.Cast<uint, float>(keys);
        Values(query, codes, plane, format, basis, band ?? (1, 0), scores);
        for (var t = 0; t < keys.Length; t++)
        {
            keys[t] = OrderedKey(scores[t]);
        }
    }

    /// <summary>Scores of n tokens as numbers; operands as for keys.</summary>
    /// <param name="scores">[n]</param>
    public static void Values(
        ReadOnlySpan<float> query, ReadOnlySpan<int> codes, ReadOnlySpan<byte> plane, LatentFormat format, LatentBasisLayer basis, (float Unit, float Bias) band, Span<float> scores)
    {
        var rank = query.Length;
        if (format.IsCoded())
        {
            Span<int> latent = stackalloc int[rank];
            for (var t = 0; t < scores.Length; t++)
            {
                scores[t] = (Product(codes, plane, t, format, latent) * band.Unit) + band.Bias;
            }

            return;
        }

        if (format == LatentFormat.Float32)
        {
            DenseAttend.Score(query, MemoryMarshal.Cast<byte, float>(plane), rank, scores);
        }
        else
        {
            Span<float> rows = stackalloc float[WidenedRows * rank];
            for (var t = 0; t < scores.Length; t += WidenedRows)
            {
                var count = Math.Min(WidenedRows, scores.Length - t);
                LatentCodec.Load(plane.Slice(t * rank * format.Bits() / 8, count * rank * format.Bits() / 8), format, basis, 0, rows[..(count * rank)]);
                DenseAttend.Score(query, rows, rank, scores.Slice(t, count));
            }
        }

        TensorPrimitives.Add(scores, band.Bias, scores);
    }

    private static int Product(ReadOnlySpan<int> codes, ReadOnlySpan<byte> plane, int t, LatentFormat format, Span<int> latent)
    {
        var bytes = latent.Length * format.Bits() / 8;
        Codes(plane.Slice(t * bytes, bytes), format, latent);
        return TensorPrimitives.Dot<int>(codes, latent);
    }

    private static void Codes(ReadOnlySpan<byte> stored, LatentFormat format, Span<int> codes)
    {
        if (format == LatentFormat.Int8)
        {
            TensorPrimitives.ConvertTruncating(MemoryMarshal.Cast<byte, sbyte>(stored), codes);
            return;
        }

        for (var i = 0; i < codes.Length; i++)
        {
            codes[i] = LatentCodec.Nibble(stored, i);
        }
    }

    /// <summary>
    /// Query of int8 scoring: round(query * scale * (QueryRange / largest magnitude)), ties to even, products in that order in float32. With it a score is an exact int32
    /// sum, the same on every device. All zeros when the largest magnitude is 0 or not finite.
    /// </summary>
    /// <param name="query">[RS]</param>
    /// <param name="codes">[RS]</param>
    /// <returns>What one code of the product with int8 latents is worth; 0 where all are 0.</returns>
    public static float QuantiseQuery(ReadOnlySpan<float> query, LatentBasisLayer basis, Span<int> codes)
    {
        Span<float> scaled = stackalloc float[query.Length];
        TensorPrimitives.Multiply(query, basis.Scale.AsSpan(0, query.Length), scaled);
        var largest = MathF.Abs(TensorPrimitives.MaxMagnitude<float>(scaled));
        var step = QueryRange / largest;
        for (var i = 0; i < codes.Length; i++)
        {
            codes[i] = float.IsFinite(largest) && float.IsFinite(step) ? (int)MathF.Round(scaled[i] * step, MidpointRounding.ToEven) : 0;
        }

        return float.IsFinite(largest) && float.IsFinite(step) ? largest / QueryRange : 0;
    }

    /// <summary>Maps a score to an integer of the same order; -0 equals +0, NaN is below everything.</summary>
    public static uint OrderedKey(float score)
    {
        if (float.IsNaN(score))
        {
            return 0;
        }

        var bits = BitConverter.SingleToUInt32Bits(score + 0f);
        return (bits & 0x8000_0000) != 0 ? ~bits : bits | 0x8000_0000;
    }

    /// <summary>The score of a key that <see cref="OrderedKey(float)"/> gave, NaN for 0.</summary>
    public static float ScoreOf(uint key) => key == 0 ? float.NaN : BitConverter.UInt32BitsToSingle((key & 0x8000_0000) != 0 ? key & 0x7FFF_FFFF : ~key);

    public static uint OrderedKey(int score) => (uint)score ^ 0x8000_0000;

    /// <summary>
    /// Positions of the <paramref name="selected"/>.Length best tokens by (key descending, position ascending), written in ascending order.
    /// Finds the least key that still belongs to the set byte by byte, from the highest, by counting.
    /// </summary>
    /// <param name="keys">[n], n &gt;= k</param>
    /// <param name="first">Position of keys[0].</param>
    /// <param name="selected">[k]</param>
    public static void Select(ReadOnlySpan<uint> keys, int first, Span<int> selected)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(selected.Length, keys.Length);
        Span<int> counts = stackalloc int[256];
        uint threshold = 0, mask = 0;
        var missing = selected.Length; // of the tokens that agree with the threshold in the bytes fixed so far
        for (var shift = 24; shift >= 0 && missing > 0; shift -= 8)
        {
            counts.Clear();
            foreach (var key in keys)
            {
                counts[(int)(key >> shift & 255)] += (key & mask) == threshold ? 1 : 0;
            }

            var digit = 255;
            while (counts[digit] < missing)
            {
                missing -= counts[digit--];
            }

            threshold |= (uint)digit << shift;
            mask |= 255u << shift;
        }

        var next = 0;
        for (var t = 0; next < selected.Length; t++)
        {
            if (keys[t] > threshold || (keys[t] == threshold && missing-- > 0))
            {
                selected[next++] = first + t;
            }
        }
    }
}
