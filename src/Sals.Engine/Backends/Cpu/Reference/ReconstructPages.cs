using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;

namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>Keys and values of latent tokens: key = rope(U latent + mean) at the token's own position, values dequantised (paper section 3, stage 2).</summary>
internal static class ReconstructPages
{
    /// <summary>All 64 tokens of a page, for the cached prefix of a prompt.</summary>
    /// <param name="page">bytes of the latent page</param>
    /// <param name="firstPosition">Position of the page's first token.</param>
    /// <param name="keys">[P, HK, DH] after rope</param>
    /// <param name="values">[P, HK, DH]</param>
    public static void Run(
        Span<byte> page, int firstPosition, RopeTable rope, LatentBasisLayer basis, PageLayout layout, int layer, Span<float> keys, Span<float> values)
    {
        var width = layout.KeyWidth;
        var planes = new LatentPlanes(page, layout, layer);
        for (var t = 0; t < PageLayout.PageSize; t++)
        {
            Key(planes, t, firstPosition + t, rope, basis, layout.Spec, 0, keys.Slice(t * width, width));
            Value(planes, t, layout.Spec, 0, values.Slice(t * width, width));
        }
    }

    /// <summary>Channels [first, first + n) of one token's key, whole heads.</summary>
    /// <param name="t">token of the page</param>
    /// <param name="key">[n / DH, DH] after rope</param>
    public static void Key(in LatentPlanes planes, int t, int position, RopeTable rope, LatentBasisLayer basis, LatentSpec spec, int first, Span<float> key)
    {
        Span<float> latent = stackalloc float[spec.Rank];
        LatentCodec.Load(planes.Score(t), spec.LatentFormat, basis, 0, latent[..spec.ScoreRank]);
        LatentCodec.Load(planes.Rest(t), spec.LatentFormat, basis, spec.ScoreRank, latent[spec.ScoreRank..]);
        basis.Mean.AsSpan(first, key.Length).CopyTo(key);
        DenseAttend.Accumulate(latent, basis.Vectors.AsSpan(first), basis.Width, key);
        Rope.Run(key, rope.Cos(position), rope.Sin(position));
    }

    /// <summary>Channels [first, first + n) of one token's value.</summary>
    /// <param name="value">[n]</param>
    public static void Value(in LatentPlanes planes, int t, LatentSpec spec, int first, Span<float> value) =>
        ValueQuantizer.Dequantise(planes.ValueCodes(t), planes.ValueScales(t), spec.ValueBits, spec.ValueGroup, first, value);
}
