using System.Numerics.Tensors;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;

namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>
/// o[h] = softmax(q[h] . K[t] / sqrt(DH)) V[t] over the sinks, the selected latent tokens and the window: all heads of one row (paper section 3,
/// stages 2 and 3). Sinks and window are read exactly from hot pages; the keys of selected tokens are reconstructed, then rotated to their own
/// positions. Attention over the attended tokens is exact, without correction for the others.
/// Works on tiles of up to 64 tokens in ascending order: the sinks, the selected tokens in runs of 64, each page of the window. A tile gives a part of the result
/// and the parts are merged in order, so the result depends on the length and the selection only.
/// </summary>
internal static class SparseAttend
{
    private const int P = PageLayout.PageSize;

    /// <summary>Floats of a head's part of the result: the weighted sum of values [DH], the largest score, the sum of weights.</summary>
    public static int PartSize(int headSize) => headSize + 2;

    /// <summary>Floats that <see cref="Tile"/> works in.</summary>
    public static int WorkspaceSize(PageLayout layout) => P * (layout.Spec.Rank + (2 * layout.KeyWidth) + 1);

    /// <summary>Tiles of a row with this length and this many selected tokens.</summary>
    public static int TileCount(int selected, int length, LatentSpec spec) =>
        SinkTiles(length, spec) + CacheTimeline.PagesOf(selected) + CacheTimeline.PagesOf(length - CacheTimeline.WindowStart(length, spec));

    /// <param name="tile">0 .. <see cref="TileCount"/> - 1</param>
    /// <param name="q">[HQ, DH] after rope.</param>
    /// <param name="selected">Positions of latent tokens, ascending, within [sinks, window start).</param>
    /// <param name="length">Tokens in the cache, the row's own included; its latent pages are those of <see cref="CacheTimeline.LatentPages"/>.</param>
    /// <param name="work">[<see cref="WorkspaceSize"/>]</param>
    /// <param name="part">[HQ, <see cref="PartSize"/>]</param>
    public static void Tile(
        int tile, ReadOnlySpan<float> q, CpuCache cache, LatentBasisLayer basis, RopeTable rope, int slot, int layer, ReadOnlySpan<int> selected, int length,
        Span<float> work, Span<float> part)
    {
        var layout = cache.Layout;
        var first = SinkTiles(length, layout.Spec);
        var last = first + CacheTimeline.PagesOf(selected.Length);
        var scores = work[..P];
        if (tile >= first && tile < last)
        {
            var positions = selected.Slice((tile - first) * P, Math.Min(P, selected.Length - ((tile - first) * P)));
            var latents = work.Slice(P, positions.Length * basis.Rank);
            var keys = work.Slice(P + (P * basis.Rank), positions.Length * basis.Width);
            var values = work.Slice(P + (P * (basis.Rank + basis.Width)), positions.Length * basis.Width);
            for (var n = 0; n < positions.Length; n++)
            {
                var (page, t) = Math.DivRem(positions[n], P);
                var planes = new LatentPlanes(cache.Page(PoolKind.Latent, cache.Table(PoolKind.Latent, slot)[page]), layout, layer);
                ReconstructPages.Read(planes, t, basis, layout, n, latents, values);
            }

            ReconstructPages.Keys(latents, positions, rope, basis, keys);
            Attend(q, keys, values, positions.Length, basis.Width, rope.HeadSize, scores, part);
        }
        else
        {
            var page = tile < first ? 0 : CacheTimeline.LatentPages(length, layout.Spec) + tile - last;
            var count = tile < first ? CacheTimeline.SinkCount(length, layout.Spec) : Math.Min(P, length - (page * P));
            Attend(q, cache.Keys(PoolKind.Hot, slot, page, layer), cache.Values(PoolKind.Hot, slot, page, layer), count, basis.Width, rope.HeadSize, scores, part);
        }
    }

    /// <summary>The result from its parts.</summary>
    /// <param name="parts">[tiles, HQ, <see cref="PartSize"/>], of which heads [first, first + G) are merged.</param>
    /// <param name="o">[G, DH]</param>
    public static void Merge(ReadOnlySpan<float> parts, int tiles, int heads, int first, int headSize, Span<float> o)
    {
        var size = PartSize(headSize);
        for (var g = 0; g * headSize < o.Length; g++)
        {
            var head = o.Slice(g * headSize, headSize);
            var max = float.NegativeInfinity;
            for (var tile = 0; tile < tiles; tile++)
            {
                max = MathF.Max(max, parts[((((tile * heads) + first + g) * size) + headSize)]);
            }

            head.Clear();
            var total = 0f;
            for (var tile = 0; tile < tiles; tile++)
            {
                var part = parts.Slice(((tile * heads) + first + g) * size, size);
                var weight = MathF.Exp((part[headSize] - max) / MathF.Sqrt(headSize));
                total += weight * part[headSize + 1];
                TensorPrimitives.MultiplyAdd(part[..headSize], weight, head, head);
            }

            TensorPrimitives.Divide(head, total, head);
        }
    }

    // keys and values [n, D] of one tile, all heads
    private static void Attend(
        ReadOnlySpan<float> q, ReadOnlySpan<float> keys, ReadOnlySpan<float> values, int n, int width, int headSize, Span<float> scores, Span<float> part)
    {
        int heads = q.Length / headSize, group = q.Length / width, size = PartSize(headSize);
        scores = scores[..n];
        for (var h = 0; h < heads; h++)
        {
            var at = h / group * headSize;
            var result = part.Slice(h * size, size);
            DenseAttend.Score(q.Slice(h * headSize, headSize), keys[at..], width, scores);
            result[headSize] = TensorPrimitives.Max<float>(scores);
            result[headSize + 1] = Softmax.Run(scores, 1 / MathF.Sqrt(headSize));
            result[..headSize].Clear();
            DenseAttend.Accumulate(scores, values[at..], width, result[..headSize]);
        }
    }

    private static int SinkTiles(int length, LatentSpec spec) => CacheTimeline.SinkCount(length, spec) > 0 ? 1 : 0;
}
