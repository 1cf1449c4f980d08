using Sals.Engine.Latent;
using Sals.Engine.Paging;

namespace Sals.Engine.Scheduling;

/// <summary>
/// The pages of one sequence in the three pools, and the page edits, copies and flushes that keep the backend's tables the same.
/// Owns one reference on every page in its tables. A latent page is reserved with each hot page that may ever be flushed,
/// so a flush cannot fail.
/// </summary>
public sealed class SequencePages
{
    private const int P = PageLayout.PageSize;

    private readonly CachePools _pools;
    private readonly LatentSpec _spec;
    private readonly PageTable[] _tables = [new(), new(), new()];
    private readonly List<bool> _latentReady = [];
    private readonly bool _mayFlush;
    private int _flushed;

    // tables differ from the backend's until these are sent; only forks send late
    private bool _unsent;

    // of a fork: the source's partly filled page in each pool, referenced until the copy has run; 0 = none
    private readonly int[] _copyFrom = new int[PoolKinds.Count];
    private int _copyIndex;

    /// <param name="maxLength">Longest this sequence can become; when it never passes dense_below no latent page is ever needed.</param>
    public SequencePages(CachePools pools, LatentSpec spec, int maxLength)
    {
        _pools = pools;
        _spec = spec;
        _mayFlush = pools[PoolKind.Latent].Exists && CacheTimeline.LatentPages(maxLength, spec) > 0;
    }

    public int this[PoolKind kind, int index] => _tables[(int)kind][index];

    /// <summary>Takes every page the prompt needs, the first <paramref name="hits"/> from the index. False and nothing taken when memory is short.</summary>
    public bool TryAdmit(int promptLength, ReadOnlySpan<PrefixHash> hashes, int hits)
    {
        // shared pages first: an allocation may otherwise evict the very prefix that was just found
        for (var i = 0; i < hits; i++)
        {
            var entry = _pools.Index.Find(hashes[i])!;
            Share(PoolKind.Dense, i, entry[PoolKind.Dense]);
            Share(PoolKind.Hot, i, entry[PoolKind.Hot]);
            _latentReady.Add(_mayFlush && entry[PoolKind.Latent] != 0);
            if (_latentReady[i])
            {
                Share(PoolKind.Latent, i, entry[PoolKind.Latent]);
            }
        }

        for (var i = 0; i < CacheTimeline.PagesOf(promptLength); i++)
        {
            var taken = true;
            if (i >= hits)
            {
                _latentReady.Add(CacheTimeline.NeedsLatent(i, promptLength, _spec));
                taken = Take(PoolKind.Dense, i) && (!CacheTimeline.NeedsHot(i, promptLength, _spec) || Take(PoolKind.Hot, i));
            }

            if (!taken || (_mayFlush && this[PoolKind.Latent, i] == 0 && !Take(PoolKind.Latent, i)))
            {
                Release();
                return false;
            }
        }

        _unsent = true;
        return true;
    }

    /// <summary>Shares every full page of <paramref name="source"/> and takes copies of the partly filled last one. False and nothing taken when memory is short.</summary>
    public bool TryFork(SequencePages source, int promptLength)
    {
        var full = promptLength / P;
        for (var i = 0; i < CacheTimeline.PagesOf(promptLength); i++)
        {
            var own = i >= full;
            _latentReady.Add(!own && source._latentReady[i]);
            if (!own)
            {
                Share(PoolKind.Dense, i, source[PoolKind.Dense, i]);
                Share(PoolKind.Hot, i, source[PoolKind.Hot, i]);
                if (_latentReady[i])
                {
                    Share(PoolKind.Latent, i, source[PoolKind.Latent, i]);
                }
            }

            if ((own && !(Take(PoolKind.Dense, i) && Take(PoolKind.Hot, i)))
                || (_mayFlush && !_latentReady[i] && !Take(PoolKind.Latent, i)))
            {
                Release();
                return false;
            }
        }

        _unsent = true;
        _copyIndex = full;
        foreach (var kind in PoolKinds.All)
        {
            // a latent form is flushed from the copy, never copied itself
            var page = kind == PoolKind.Latent ? 0 : source[kind, full];
            if (page != 0)
            {
                _pools[kind].AddReference(page);
                _copyFrom[(int)kind] = page;
            }
        }

        return true;
    }

    /// <summary>Whether <see cref="TrySend"/> would succeed.</summary>
    public bool CanSend(StepPlan plan) =>
        !_unsent || (plan.Edits.Free >= _tables.Sum(table => table.Count) && plan.Copies.Free >= PoolKinds.Count);

    /// <summary>
    /// Writes the tables and the fork's copy into <paramref name="plan"/> if that has not happened. False when they do not fit any more.
    /// <paramref name="released"/> receives the pages copied from.
    /// </summary>
    public bool TrySend(int slot, StepPlan plan, List<(PoolKind Pool, int Page)> released)
    {
        if (!_unsent || !CanSend(plan))
        {
            return !_unsent;
        }

        foreach (var kind in PoolKinds.All)
        {
            for (var i = 0; i < _tables[(int)kind].Count; i++)
            {
                if (this[kind, i] != 0)
                {
                    plan.Edits.Add(new PageEdit(kind, slot, i, this[kind, i]));
                }
            }

            if (_copyFrom[(int)kind] != 0)
            {
                plan.Copies.Add(new PageCopy(kind, _copyFrom[(int)kind], this[kind, _copyIndex]));
                released.Add((kind, _copyFrom[(int)kind]));
                _copyFrom[(int)kind] = 0;
            }
        }

        _unsent = false;
        return true;
    }

    /// <summary>Whether what <see cref="Flush"/> and <see cref="TryExtend"/> would add for this length still fits into the plan.</summary>
    public bool Fits(int length, StepPlan plan)
    {
        var due = 0;
        var end = _mayFlush ? CacheTimeline.LatentPages(length, _spec) : 0;
        for (var i = _flushed; i < end; i++)
        {
            due += _latentReady[i] ? 0 : 1;
        }

        return due <= plan.Flushes.Free && Math.Max(0, end - _flushed) + PoolKinds.Count <= plan.Edits.Free;
    }

    /// <summary>
    /// Plans the flushes that must precede a cache of <paramref name="length"/> tokens and lets go of the hot pages behind the window.
    /// <paramref name="released"/> receives pages that may be freed once the plan has been collected;
    /// cached prefixes of <paramref name="hashes"/> gain the latent form.
    /// </summary>
    public void Flush(int length, int slot, StepPlan plan, List<(PoolKind Pool, int Page)> released, ReadOnlySpan<PrefixHash> hashes)
    {
        var end = _mayFlush ? CacheTimeline.LatentPages(length, _spec) : 0;
        for (; _flushed < end; _flushed++)
        {
            var i = _flushed;
            var hot = this[PoolKind.Hot, i];
            if (!_latentReady[i])
            {
                plan.Flushes.Add(new PageFlush(slot, i, hot, this[PoolKind.Latent, i]));
                _latentReady[i] = true;
                if (i < hashes.Length && _pools.Index.Find(hashes[i]) is not null)
                {
                    _pools.Index.Add(hashes[i], 0, 0, this[PoolKind.Latent, i]);
                }
            }

            if (hot != 0 && (i > 0 || _spec.SinkTokens == 0))
            {
                plan.Edits.Add(new PageEdit(PoolKind.Hot, slot, i, 0));
                _tables[(int)PoolKind.Hot][i] = 0;
                released.Add((PoolKind.Hot, hot));
            }
        }
    }

    /// <summary>Takes the pages of the token at <paramref name="position"/>. False and nothing changed when memory is short.</summary>
    public bool TryExtend(int position, int slot, StepPlan plan)
    {
        var i = position / P;
        if (position % P != 0)
        {
            return true;
        }

        var taken = Take(PoolKind.Dense, i) && Take(PoolKind.Hot, i) && (!_mayFlush || Take(PoolKind.Latent, i));
        foreach (var kind in PoolKinds.All)
        {
            var page = this[kind, i];
            if (page != 0 && taken)
            {
                plan.Edits.Add(new PageEdit(kind, slot, i, page));
            }
            else if (page != 0)
            {
                _pools.Release(kind, page);
                _tables[(int)kind][i] = 0;
            }
        }

        if (taken)
        {
            _latentReady.Add(false);
        }

        return taken;
    }

    /// <summary>Leaves the full pages of a finished prompt to later requests.</summary>
    public void Register(ReadOnlySpan<PrefixHash> hashes)
    {
        // from the end, so that the head of a chain is the most recently used and the last to be given up
        for (var i = hashes.Length - 1; i >= 0; i--)
        {
            var latent = i < _latentReady.Count && _latentReady[i] ? this[PoolKind.Latent, i] : 0;
            if (this[PoolKind.Dense, i] != 0 || this[PoolKind.Hot, i] != 0 || latent != 0)
            {
                _pools.Index.Add(hashes[i], this[PoolKind.Dense, i], this[PoolKind.Hot, i], latent);
                _pools.Index.Touch(_pools.Index.Find(hashes[i])!);
            }
        }
    }

    /// <summary>Gives up every page. No step in flight may name the slot any more.</summary>
    public void Release()
    {
        foreach (var kind in PoolKinds.All)
        {
            for (var i = 0; i < _tables[(int)kind].Count; i++)
            {
                if (this[kind, i] != 0)
                {
                    _pools.Release(kind, this[kind, i]);
                }
            }

            _tables[(int)kind].Clear();
            if (_copyFrom[(int)kind] != 0)
            {
                _pools.Release(kind, _copyFrom[(int)kind]);
                _copyFrom[(int)kind] = 0;
            }
        }

        _latentReady.Clear();
        _flushed = 0;
        _unsent = false;
    }

    /// <summary>Pages held in each pool; walks the tables.</summary>
    public PageCounts Counts => new(_tables[(int)PoolKind.Dense].Held, _tables[(int)PoolKind.Hot].Held, _tables[(int)PoolKind.Latent].Held);

    public void CountReferences(Dictionary<(PoolKind Pool, int Page), int> counts)
    {
        foreach (var kind in PoolKinds.All)
        {
            for (var i = 0; i < _tables[(int)kind].Count; i++)
            {
                Count(counts, kind, this[kind, i]);
            }

            Count(counts, kind, _copyFrom[(int)kind]);
        }
    }

    private static void Count(Dictionary<(PoolKind Pool, int Page), int> counts, PoolKind kind, int page)
    {
        if (page != 0)
        {
            counts[(kind, page)] = counts.GetValueOrDefault((kind, page)) + 1;
        }
    }

    private void Share(PoolKind kind, int index, int page)
    {
        if (page != 0)
        {
            _pools[kind].AddReference(page);
            _tables[(int)kind][index] = page;
        }
    }

    private bool Take(PoolKind kind, int index)
    {
        if (!_pools[kind].Exists)
        {
            return true;
        }

        var page = _pools.Allocate(kind);
        _tables[(int)kind][index] = page;
        return page != 0;
    }
}
