using Sals.Engine.Paging;

namespace Sals.Engine;

/// <summary>
/// Counters and gauges of the engine: written by the engine thread, read by any thread without locks (each field is a 64-bit
/// integer, so a read is never torn; a scrape may see two fields one step apart). Counters only grow.
/// </summary>
public sealed class EngineStats
{
    private readonly long[] _pagesUsed = new long[PoolKinds.Count];
    private readonly long[] _pagesCached = new long[PoolKinds.Count];
    private readonly long[] _poolBytes = new long[PoolKinds.Count];
    private long[] _laneTokens = [];

    public long Running { get; internal set; }
    public long Waiting { get; internal set; }

    /// <summary>Waiting only because an identical prefix is being prefilled right now.</summary>
    public long Deferred { get; internal set; }

    public long Steps { get; internal set; }
    public long DecodeRows { get; internal set; }
    public long PrefillTokens { get; internal set; }
    public long PromptTokens { get; internal set; }
    public long CachedPromptTokens { get; internal set; }
    public long RecomputedTokens { get; internal set; }
    public long GeneratedTokens { get; internal set; }
    public long PrefixQueries { get; internal set; }
    public long PrefixHits { get; internal set; }
    public long Preemptions { get; internal set; }
    public long Flushes { get; internal set; }

    /// <summary>Decode rows that read compressed pages in some layer; the share of decode tokens is of <see cref="DecodeRows"/>.</summary>
    public long SparseRows { get; internal set; }

    /// <summary>(Layer, token) pairs of decode rows that read compressed pages; the share is of <see cref="DecodeRows"/> times the layers.</summary>
    public long SparseLayerRows { get; internal set; }

    /// <summary>Those among <see cref="SparseLayerRows"/> that chose tokens by score, because there were more candidates than the budget.</summary>
    public long ScoredLayerRows { get; internal set; }

    /// <summary>Latent tokens that sparse rows could select from, in each compressed layer, summed over rows.</summary>
    public long CandidateTokens { get; internal set; }

    /// <summary>Latent tokens that sparse rows did select, in each compressed layer, summed over rows.</summary>
    public long SelectedTokens { get; internal set; }

    /// <summary>Cached tokens of the sequences of all decode rows, summed over rows.</summary>
    public long ContextTokens { get; internal set; }

    /// <summary>Tokens of a step: its decode rows and the prompt tokens that entered the first layer.</summary>
    public TokenHistogram StepTokens { get; } = new();

    /// <summary>Bytes of the cache arena that pages of live sequences hold.</summary>
    public long CacheBytesUsed { get; internal set; }

    /// <summary>Bytes held only by the prefix index; given up on demand.</summary>
    public long CacheBytesCached { get; internal set; }

    public long CacheBytesTotal { get; internal set; }

    /// <summary>Time of the engine thread, in timestamp ticks, that planning steps and publishing their tokens took. Waiting for work does not count.</summary>
    public long ScheduleTicks { get; internal set; }

    /// <summary>That calls of the backend took.</summary>
    public long BackendTicks { get; internal set; }

    /// <summary>Of <see cref="BackendTicks"/>, waiting for the device; 0 where the engine thread computes.</summary>
    public long WaitTicks { get; internal set; }

    public long PagesUsed(PoolKind pool) => Volatile.Read(ref _pagesUsed[(int)pool]);

    public long PagesCached(PoolKind pool) => Volatile.Read(ref _pagesCached[(int)pool]);

    /// <summary>Cache memory that a pool has drawn, free pages included.</summary>
    public long PoolBytes(PoolKind pool) => Volatile.Read(ref _poolBytes[(int)pool]);

    /// <summary>Prefill lanes; 0 until the engine has loaded.</summary>
    public int LaneCount => Volatile.Read(ref _laneTokens).Length;

    /// <summary>Rows of a prefill lane that prompts hold.</summary>
    public long LaneTokens(int lane) => Volatile.Read(ref Volatile.Read(ref _laneTokens)[lane]);

    internal void SetLaneCount(int count) => Volatile.Write(ref _laneTokens, new long[count]);

    internal void SetLane(int lane, long tokens) => Volatile.Write(ref _laneTokens[lane], tokens);

    internal void SetPoolBytes(PoolKind pool, long bytes) => Volatile.Write(ref _poolBytes[(int)pool], bytes);

    internal void SetPages(PoolKind pool, long used, long cached)
    {
        Volatile.Write(ref _pagesUsed[(int)pool], used);
        Volatile.Write(ref _pagesCached[(int)pool], cached);
    }
}
