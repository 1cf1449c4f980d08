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
    /// <param name="latents">[P, R], workspace</param>
    /// <param name="keys">[P, HK, DH] after rope</param>
    /// <param name="values">[P, HK, DH]</param>
    public static void Run(
        Span<byte> page, int firstPosition, RopeTable rope, LatentBasisLayer basis, PageLayout layout, int layer, Span<float> latents, Span<float> keys, Span<float> values)
    {
        Span<int> positions = stackalloc int[PageLayout.PageSize];
        var planes = new LatentPlanes(page, layout, layer);
        for (var t = 0; t < PageLayout.PageSize; t++)
        {
            positions[t] = firstPosition + t;
            Read(planes, t, basis, layout, t, latents, values);
        }

        Keys(latents, positions, rope, basis, keys);
    }

    /// <summary>Latent and value of token <paramref name="t"/> of a page to row <paramref name="row"/> of the operands.</summary>
    /// <param name="latents">[rows, R]</param>
    /// <param name="values">[rows, D]</param>
    public static void Read(in LatentPlanes planes, int t, LatentBasisLayer basis, PageLayout layout, int row, Span<float> latents, Span<float> values)
    {
        var spec = layout.Spec;
        var latent = latents.Slice(row * basis.Rank, basis.Rank);
        LatentCodec.Load(planes.Score(t), spec.LatentFormat, basis, 0, latent[..spec.ScoreRank]);
        LatentCodec.Load(planes.Rest(t), spec.LatentFormat, basis, spec.ScoreRank, latent[spec.ScoreRank..]);
        var value = values.Slice(row * layout.KeyWidth, layout.KeyWidth);
        ValueQuantizer.Dequantise(planes.ValueCodes(t), planes.ValueScales(t), spec.ValueBits, spec.ValueGroup, value);
        if (spec.RotateValues)
        {
            ValueRotation.Run(value, layout.HeadSize);
        }
    }

    /// <summary>keys[t] = rope(U latents[t] + mean) at positions[t]; each key depends on its own latent only.</summary>
    /// <param name="latents">[n, R]</param>
    /// <param name="positions">[n]</param>
    /// <param name="keys">[n, HK, DH]</param>
    public static void Keys(ReadOnlySpan<float> latents, ReadOnlySpan<int> positions, RopeTable rope, LatentBasisLayer basis, Span<float> keys)
    {
        var width = basis.Width;
        for (var t = 0; t < positions.Length; t++)
        {
            basis.Mean.CopyTo(keys[(t * width)..]);
        }

        for (var first = 0; first < width; first += MatMul.Width)
        {
            MatMul.Run(
                latents, basis.Rank, positions.Length, basis.Panel(first / MatMul.Width), basis.Rank, keys[first..], width, Math.Min(MatMul.Width, width - first), add: true);
        }

        for (var t = 0; t < positions.Length; t++)
        {
            Rope.Run(keys.Slice(t * width, width), rope.Cos(positions[t]), rope.Sin(positions[t]));
        }
    }
}
