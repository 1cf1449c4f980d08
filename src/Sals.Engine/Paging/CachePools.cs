using Sals.Engine.Backends;

namespace Sals.Engine.Paging;

/// <summary>The pools of one backend over one arena, with the prefix index that gives pages up when they run dry. Engine thread only.</summary>
public sealed class CachePools
{
    private readonly PageArena _arena;
    private readonly PagePool[] _pools;

    public CachePools(BackendInfo info)
    {
        _arena = new PageArena(info.CacheBytes, info.SlabBytes, info.PageBytes.Max());
        _pools = [.. PoolKinds.All.Select(kind => new PagePool(kind, info.BytesOf(kind), _arena))];
        Index = new PrefixIndex(_pools);
        TotalBytes = info.CacheBytes - info.PageBytes.Max();
    }

    public PrefixIndex Index { get; }

    /// <summary>Bytes that pages can use: the arena without page 0.</summary>
    public long TotalBytes { get; }

    public PagePool this[PoolKind kind] => _pools[(int)kind];

    /// <summary>Bytes of pages with at least one reference, the index's included.</summary>
    public long UsedBytes
    {
        get
        {
            var bytes = 0L;
            foreach (var pool in _pools)
            {
                bytes += pool.UsedPages * pool.PageBytes;
            }

            return bytes;
        }
    }

    /// <summary>Bytes of pages that only the index holds. Walks the index: not for every step.</summary>
    public long IdleBytes => _pools.Sum(pool => Index.IdlePages(pool.Kind) * pool.PageBytes);

    /// <summary>A page with one reference, if need be after giving up cached prefixes; 0 when all memory is in use.</summary>
    public int Allocate(PoolKind kind)
    {
        var pool = this[kind];
        int page;
        while ((page = pool.Allocate()) == 0 && Index.GiveUpOne())
        {
        }

        return page;
    }

    public void Release(PoolKind kind, int page) => this[kind].Release(page);

    /// <summary>Compares every reference count with <paramref name="expected"/> references of sequences plus the index's own.</summary>
    /// <exception cref="InvalidOperationException">A page is lost, leaked or shared without a reference.</exception>
    public void CheckIntegrity(Dictionary<(PoolKind Pool, int Page), int> expected)
    {
        Index.CountReferences(expected);
        foreach (var pool in _pools)
        {
            pool.CheckIntegrity();
        }

        foreach (var kind in PoolKinds.All)
        {
            var live = expected.Count(entry => entry.Key.Pool == kind);
            if (live != this[kind].UsedPages)
            {
                throw new InvalidOperationException($"{kind} pool has {this[kind].UsedPages} pages in use, but {live} are referenced.");
            }
        }

        foreach (var ((kind, page), count) in expected)
        {
            if (this[kind].References(page) != count)
            {
                throw new InvalidOperationException($"{kind} page {page} counts {this[kind].References(page)} references, but has {count}.");
            }
        }
    }
}
