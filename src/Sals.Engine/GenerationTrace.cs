using Sals.Engine.Paging;

namespace Sals.Engine;

/// <summary>
/// What happened to a request: timestamps are <see cref="TimeProvider.GetTimestamp"/> values, 0 = not yet. Written by the engine thread only;
/// another thread may read it at any time (64-bit fields) and finds it complete once the event stream has ended.
/// </summary>
public sealed class GenerationTrace
{
    /// <summary>Handed to the engine.</summary>
    public long Arrived { get; set; }

    /// <summary>First prefill slice planned: the end of waiting.</summary>
    public long Started { get; set; }

    /// <summary>First token published.</summary>
    public long FirstToken { get; set; }

    /// <summary>Last token published.</summary>
    public long LastToken { get; set; }

    /// <summary>All choices ended.</summary>
    public long Finished { get; set; }

    /// <summary>Prompt tokens taken from the prefix cache (usage.prompt_tokens_details.cached_tokens).</summary>
    public int CachedTokens { get; set; }

    /// <summary>Tokens generated, all choices, stop tokens included.</summary>
    public int GeneratedTokens { get; set; }

    /// <summary>Tokens that came from decode rows: all generated ones but the first of each choice.</summary>
    public int DecodedTokens { get; set; }

    /// <summary>Decoded tokens whose row read compressed pages in some layer.</summary>
    public int SparseTokens { get; set; }

    /// <summary>(Layer, decoded token) pairs that read compressed pages.</summary>
    public int SparseLayerTokens { get; set; }

    /// <summary>Those among <see cref="SparseLayerTokens"/> that chose tokens by score.</summary>
    public int ScoredLayerTokens { get; set; }

    /// <summary>Latent tokens attended to, summed over <see cref="SparseLayerTokens"/>.</summary>
    public long SelectedTokens { get; set; }

    /// <summary>Hot pages that were compressed while decoding, all choices.</summary>
    public int FlushedPages { get; set; }

    /// <summary>Tokens in the cache when the choices ended, all choices; 0 for a choice that ended without pages.</summary>
    public int CacheTokens { get; set; }

    /// <summary>Pages of each pool that the choices held when they ended, shared ones counted for each holder; reserved latent pages are included.</summary>
    public PageCounts CachePages { get; set; }

    /// <summary>Times this request gave up its pages and started again.</summary>
    public int Preemptions { get; set; }
}

/// <summary>Pages by pool.</summary>
public readonly record struct PageCounts(int Dense, int Hot, int Latent)
{
    public int this[PoolKind pool] => pool switch
    {
        PoolKind.Dense => Dense,
        PoolKind.Hot => Hot,
        _ => Latent,
    };

    public static PageCounts operator +(PageCounts a, PageCounts b) => new(a.Dense + b.Dense, a.Hot + b.Hot, a.Latent + b.Latent);
}
