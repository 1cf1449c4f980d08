using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;

namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>
/// o[g] = softmax(q[g] . K[t] / sqrt(DH)) V[t] over the sinks, the selected latent tokens and the window: the G query heads of one KV head of one
/// row (paper section 3, stages 2 and 3). Sinks and window are read exactly from hot pages; the keys of selected tokens are
/// reconstructed, then rotated to their own positions. Attention over the attended tokens is exact, without correction for the others.
/// Tokens are visited in ascending order, so the result depends on the length and the selection only.
/// </summary>
internal static class SparseAttend
{
    /// <param name="q">[G, DH] after rope.</param>
    /// <param name="selected">Positions of latent tokens, ascending, within [sinks, window start).</param>
    /// <param name="length">Tokens in the cache, the row's own included; its latent pages are those of <see cref="CacheTimeline.LatentPages"/>.</param>
    /// <param name="scores">[G, n], workspace; n = sinks + selected + window tokens, <see cref="AttendedCount"/>.</param>
    /// <param name="o">[G, DH]</param>
    public static void Run(
        ReadOnlySpan<float> q, CpuCache cache, LatentBasisLayer basis, RopeTable rope, int slot, int layer, int kvHead, ReadOnlySpan<int> selected, int length,
        Span<float> scores, Span<float> o)
    {
        var spec = cache.Layout.Spec;
        int size = rope.HeadSize, stride = cache.Layout.KeyWidth, first = kvHead * size, group = q.Length / size;
        int sinks = CacheTimeline.SinkCount(length, spec), window = CacheTimeline.WindowStart(length, spec), count = AttendedCount(selected.Length, length, spec);
        Span<float> row = stackalloc float[size];
        Span<float> score = stackalloc float[1];
        for (var n = 0; n < count; n++)
        {
            var key = row;
            if (Selected(n, sinks, selected, window, out var position))
            {
                ReconstructPages.Key(Planes(cache, slot, position, layer), position % PageLayout.PageSize, position, rope, basis, spec, first, row);
            }
            else
            {
                key = cache.Keys(PoolKind.Hot, slot, position / PageLayout.PageSize, layer).Slice(position % PageLayout.PageSize * stride + first, size);
            }

            for (var g = 0; g < group; g++)
            {
                DenseAttend.Score(q.Slice(g * size, size), key, size, score);
                scores[g * count + n] = score[0];
            }
        }

        Span<float> total = stackalloc float[group];
        for (var g = 0; g < group; g++)
        {
            total[g] = Softmax.Run(scores.Slice(g * count, count), 1 / MathF.Sqrt(size));
        }

        o.Clear();
        for (var n = 0; n < count; n++)
        {
            var value = row;
            if (Selected(n, sinks, selected, window, out var position))
            {
                ReconstructPages.Value(Planes(cache, slot, position, layer), position % PageLayout.PageSize, spec, first, row);
            }
            else
            {
                value = cache.Values(PoolKind.Hot, slot, position / PageLayout.PageSize, layer).Slice(position % PageLayout.PageSize * stride + first, size);
            }

            for (var g = 0; g < group; g++)
            {
                DenseAttend.Accumulate(scores.Slice(g * count + n, 1), value, size, o.Slice(g * size, size));
            }
        }

        for (var i = 0; i < o.Length; i++)
        {
            o[i] /= total[i / size];
        }
    }

    /// <summary>Tokens a row attends to: sinks, selected and window.</summary>
    public static int AttendedCount(int selected, int length, LatentSpec spec) =>
        CacheTimeline.SinkCount(length, spec) + selected + length - CacheTimeline.WindowStart(length, spec);

    // attended token n: its position, and whether it is a selected latent one
    private static bool Selected(int n, int sinks, ReadOnlySpan<int> selected, int window, out int position)
    {
        var latent = n >= sinks && n < sinks + selected.Length;
        position = latent ? selected[n - sinks] : n < sinks ? n : window + n - sinks - selected.Length;
        return latent;
    }

    private static LatentPlanes Planes(CpuCache cache, int slot, int position, int layer) =>
        new(cache.Page(PoolKind.Latent, cache.Table(PoolKind.Latent, slot)[position / PageLayout.PageSize]), cache.Layout, layer);
}
