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
        yield return string.Create(CultureInfo.InvariantCulture,
            $"Sequences at once: {info.SlotCount}; prefill lanes: {string.Join(" + ", info.LaneLengths.Select(length => length.ToString("#,0", CultureInfo.InvariantCulture)))} tokens");
    }

    public static string Bytes(long bytes) => bytes switch
    {
        >= 1L << 30 => (bytes / (double)(1L << 30)).ToString("0.00 GiB", CultureInfo.InvariantCulture),
        >= 1L << 20 => (bytes / (double)(1L << 20)).ToString("0.0 MiB", CultureInfo.InvariantCulture),
        _ => (bytes / 1024.0).ToString("0 KiB", CultureInfo.InvariantCulture),
    };
}
