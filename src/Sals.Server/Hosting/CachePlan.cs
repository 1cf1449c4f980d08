using System.Globalization;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Server.Options;

namespace Sals.Server.Hosting;

/// <summary>How long sequences may be and how much memory their keys and values get; "auto" is resolved here.</summary>
/// <param name="Shortened">auto gave less than the model supports.</param>
/// <param name="Tokens">What the cache holds.</param>
public sealed record CachePlan(int MaxModelLength, long CacheBytes, long Tokens, bool Shortened)
{
    /// <summary>Share of the free memory that a CPU cache takes unless told otherwise.</summary>
    private const int FreeShare = 4;

    /// <param name="free">Bytes of memory this process may use.</param>
    /// <exception cref="SettingException">An explicit length exceeds the model's, or does not fit the memory.</exception>
    public static CachePlan For(SalsOptions options, ModelConfig config, LatentSpec spec, ElementType exactType, long free)
    {
        CheckLength(options, config);
        var layout = new PageLayout(config, spec, exactType);
        var wanted = options.MaxModelLength ?? config.MaxModelLength;
        var needed = layout.PeakBytes(wanted);
        var bytes = options.KvCacheBytes ?? Math.Min(MemoryBudget.Holding(layout, needed * options.MaxSequences), Math.Max(free / FreeShare, 64L << 20));
        var slab = layout.SlabBytes(bytes);
        bytes = Math.Max(bytes / slab, 2) * slab;
        var tokens = layout.TokensIn(bytes, wanted);
        var fits = MemoryBudget.LongestSequence(layout, bytes, wanted);
        if (fits >= wanted)
        {
            return new CachePlan(wanted, bytes, tokens, Shortened: false);
        }

        return options.MaxModelLength is null && fits >= PageLayout.PageSize
            ? new CachePlan(fits, bytes, tokens, Shortened: true)
            : throw new SettingException(string.Create(CultureInfo.InvariantCulture,
                $"--max-model-len: one sequence of {wanted:#,0} tokens needs {MemoryBudget.Bytes(needed)} of cache, found {MemoryBudget.Bytes(bytes)}, which holds {fits:#,0}; lower it or raise --kv-cache-memory-bytes"));
    }

    /// <exception cref="SettingException">An explicit length exceeds the model's.</exception>
    public static void CheckLength(SalsOptions options, ModelConfig config)
    {
        if (options.MaxModelLength > config.MaxModelLength)
        {
            throw new SettingException(string.Create(CultureInfo.InvariantCulture,
                $"--max-model-len: expected at most {config.MaxModelLength}, what the model supports, found {options.MaxModelLength}"));
        }
    }

    public string Describe(int sequences) => string.Create(CultureInfo.InvariantCulture,
        $"KV cache: {Tokens:#,0} tokens in {MemoryBudget.Bytes(CacheBytes)}, {(double)Tokens / MaxModelLength:0.00} x concurrency at {MaxModelLength:#,0} tokens, {sequences} sequences at once");
}
