using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;

namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>
/// Compresses one page of one layer when it leaves the window: latent = P (key before rope - mean), quantised values. The key is taken back
/// from its rotated, stored form in float32, so that a prefill and a flush of the same stored keys give the same bytes.
/// </summary>
internal static class FlushPages
{
    /// <param name="keys">[P, HK, DH] after rope</param>
    /// <param name="values">[P, HK, DH]</param>
    /// <param name="firstPosition">Position of the page's first token.</param>
    /// <param name="page">bytes of the latent page</param>
    public static void Run(
        ReadOnlySpan<float> keys, ReadOnlySpan<float> values, int firstPosition, RopeTable rope, LatentBasisLayer basis, PageLayout layout, int layer, Span<byte> page)
    {
        var spec = layout.Spec;
        var width = layout.KeyWidth;
        var planes = new LatentPlanes(page, layout, layer);
        Span<float> key = stackalloc float[width];
        Span<float> latent = stackalloc float[basis.Rank];
        Span<float> value = stackalloc float[width];
        for (var t = 0; t < PageLayout.PageSize; t++)
        {
            Unrotate(keys.Slice(t * width, width), rope.Cos(firstPosition + t), rope.Sin(firstPosition + t), key);
            TensorPrimitives.Subtract(key, basis.Mean, key);
            DenseAttend.Score(key, basis.Projection, width, latent);
            LatentCodec.Store(latent[..spec.ScoreRank], spec.LatentFormat, basis, 0, planes.Score(t));
            LatentCodec.Store(latent[spec.ScoreRank..], spec.LatentFormat, basis, spec.ScoreRank, planes.Rest(t));
            values.Slice(t * width, width).CopyTo(value);
            if (spec.RotateValues)
            {
                ValueRotation.Run(value, rope.HeadSize);
            }

            ValueQuantizer.Quantise(value, spec.ValueBits, spec.ValueGroup, planes.ValueCodes(t), planes.ValueScales(t));
        }
    }

    /// <summary>
    /// The key before rope of one token. Divides by cos^2 + sin^2, which is 1 but for rounding, and the square of yarn's attention factor where
    /// the table carries one.
    /// </summary>
    /// <param name="rotated">[HK, DH]</param>
    /// <param name="cosines">[DH / 2]</param>
    /// <param name="sines">[DH / 2]</param>
    /// <param name="key">[HK, DH]</param>
    public static void Unrotate(ReadOnlySpan<float> rotated, ReadOnlySpan<float> cosines, ReadOnlySpan<float> sines, Span<float> key)
    {
        var half = cosines.Length;
        for (var head = 0; head < rotated.Length; head += 2 * half)
        {
            for (var i = 0; i < half; i++)
            {
                float cos = cosines[i], sin = sines[i], a = rotated[head + i], b = rotated[head + half + i];
                var norm = cos * cos + sin * sin;
                key[head + i] = (a * cos + b * sin) / norm;
                key[head + half + i] = (b * cos - a * sin) / norm;
            }
        }
    }
}

/// <summary>Rows of one layer in one latent page; t = 0..63.</summary>
internal readonly ref struct LatentPlanes(Span<byte> page, PageLayout layout, int layer)
{
    private readonly Span<byte> _layer = page.Slice((int)layout.ScoreOffset(layer), layout.LatentBytes(layer));
    private readonly int _scoreBytes = layout.ScorePlaneBytes / PageLayout.PageSize;
    private readonly int _restBytes = layout.RestBytes(layer) / PageLayout.PageSize;

    private int ValueOffset => layout.ScorePlaneBytes + (PageLayout.PageSize * _restBytes);

    /// <summary>[P, RS] stored latents.</summary>
    public Span<byte> ScorePlane => _layer[..layout.ScorePlaneBytes];

    /// <summary>[RS] stored latents of token t.</summary>
    public Span<byte> Score(int t) => _layer.Slice(t * _scoreBytes, _scoreBytes);

    /// <summary>[R - RS] stored latents of token t.</summary>
    public Span<byte> Rest(int t) => _layer.Slice(layout.ScorePlaneBytes + t * _restBytes, _restBytes);

    /// <summary>Packed value codes of token t.</summary>
    public Span<byte> ValueCodes(int t) => _layer.Slice(ValueOffset + t * layout.ValueRowBytes, layout.ValueRowBytes);

    /// <summary>[D / group] pairs (scale, zero) of token t.</summary>
    public Span<Half> ValueScales(int t) => MemoryMarshal.Cast<byte, Half>(_layer.Slice(
        ValueOffset + PageLayout.PageSize * layout.ValueRowBytes + t * layout.ValueScaleRowBytes, layout.ValueScaleRowBytes));
}
