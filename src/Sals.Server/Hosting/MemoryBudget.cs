using System.Globalization;
using Sals.Engine.Backends;
using Sals.Engine.Paging;

namespace Sals.Server.Hosting;

/// <summary>What the cache holds, in the words users of vLLM know.</summary>
public static class MemoryBudget
{
    /// <summary>Tokens that fit: whole pages in whole slabs, less the first page, which is nobody's.</summary>
    public static long Tokens(long cacheBytes, long slabBytes, long pageBytes) =>
        pageBytes == 0 ? 0 : Math.Max(0, (cacheBytes / slabBytes * (slabBytes / pageBytes)) - 1) * PageLayout.PageSize;

    public static IEnumerable<string> Describe(BackendInfo info)
    {
        var tokens = Tokens(info.CacheBytes, info.SlabBytes, info.PageBytes.Sum());
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
