using System.Globalization;
using Sals.Engine.Backends;
using Sals.Engine.Paging;

namespace Sals.Server.Hosting;

/// <summary>What the cache holds, in the words users of vLLM know.</summary>
public static class MemoryBudget
{
    /// <summary>Bytes of whole slabs in which pages of <paramref name="used"/> bytes fit, with page 0 and one partly filled slab for each pool.</summary>
    public static long Holding(PageLayout layout, long used)
    {
        var slab = layout.SlabBytes(used);
        var lost = PoolKinds.All.Sum(kind => layout.PageBytes(kind) > 0 ? slab + layout.PageBytes(kind) : 0);
        return (used + used / 10 + lost + slab - 1) / slab * slab;
    }

    /// <summary>Longest sequence, at most <paramref name="wanted"/> tokens, that always fits into <paramref name="cacheBytes"/>; 0 when not even a page does.</summary>
    public static int LongestSequence(PageLayout layout, long cacheBytes, int wanted)
    {
        if (Holding(layout, layout.PeakBytes(wanted)) <= Math.Max(cacheBytes, 0))
        {
            return wanted;
        }

        var pages = 0;
        for (var step = 1 << 20; step > 0; step /= 2)
        {
            var length = (pages + step) * (long)PageLayout.PageSize;
            if (length < wanted && Holding(layout, layout.PeakBytes((int)length)) <= cacheBytes)
            {
                pages += step;
            }
        }

        return pages * PageLayout.PageSize;
    }

    public static IEnumerable<string> Describe(BackendInfo info)
    {
        var tokens = info.CacheTokens;
        yield return string.Create(CultureInfo.InvariantCulture,
            $"KV cache: {tokens:#,0} tokens in {Bytes(info.CacheBytes)}, {(double)tokens / info.MaxModelLength:0.00} x concurrency at {info.MaxModelLength:#,0} tokens per request");
        if (!info.Spec.IsDense)
        {
            var (sequence, exact) = (SequenceBytes(info), ExactBytes(info));
            yield return string.Create(CultureInfo.InvariantCulture,
                $"One sequence of {info.MaxModelLength:#,0} tokens: {Bytes(sequence)} of cache, window and dense layers included, and {Bytes(info.BasisBytes)} of bases, {(double)(sequence + info.BasisBytes) / info.MaxModelLength:#,0} bytes a token; exact {Bytes(exact)}, {(double)exact / (sequence + info.BasisBytes):0.00} x");
        }

        yield return string.Create(CultureInfo.InvariantCulture,
            $"Sequences at once: {info.SlotCount}; prefill lanes: {string.Join(" + ", info.LaneLengths.Select(length => length.ToString("#,0", CultureInfo.InvariantCulture)))} tokens");
    }

    /// <summary>Bytes of the pages that one sequence of the longest length holds, all layers.</summary>
    public static long SequenceBytes(BackendInfo info) =>
        PoolKinds.All.Sum(kind => info.BytesOf(kind) * CacheTimeline.HeldPages(kind, info.MaxModelLength, info.MaxModelLength, info.Spec));

    /// <summary>The same if nothing were compressed.</summary>
    public static long ExactBytes(BackendInfo info) => info.ExactPageBytes * CacheTimeline.PagesOf(info.MaxModelLength);

    /// <summary>Lines for a compressed cache: bytes of a token in each pool, and what compression leaves of a compressed layer and of the whole model. None when dense.</summary>
    public static IEnumerable<string> Pools(PageLayout layout, int layers)
    {
        if (layout.Spec.IsDense)
        {
            yield break;
        }

        var (dense, sparse) = (layout.Spec.DenseLayers.Length, layers - layout.Spec.DenseLayers.Length);
        yield return string.Create(CultureInfo.InvariantCulture,
            $"Cache bytes per token: {PerToken(PoolKind.Hot):#,0} in the window and up to dense_below={layout.Spec.DenseBelow} ({sparse} layers, hot), {PerToken(PoolKind.Dense):#,0} always ({dense} layers, dense), {PerToken(PoolKind.Latent):#,0} compressed ({sparse} layers, latent)");
        yield return string.Create(CultureInfo.InvariantCulture,
            $"Cache ratio: a compressed token takes {layout.LayerRatio:0.000} of an exact one in a compressed layer, {layout.ModelRatio:0.000} in the whole model");

        long PerToken(PoolKind kind) => layout.PageBytes(kind) / PageLayout.PageSize;
    }

    public static string Bytes(long bytes) => bytes switch
    {
        >= 1L << 30 => (bytes / (double)(1L << 30)).ToString("0.00 GiB", CultureInfo.InvariantCulture),
        >= 1L << 20 => (bytes / (double)(1L << 20)).ToString("0.0 MiB", CultureInfo.InvariantCulture),
        _ => (bytes / 1024.0).ToString("0 KiB", CultureInfo.InvariantCulture),
    };
}
