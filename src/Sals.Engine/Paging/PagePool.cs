namespace Sals.Engine.Paging;

/// <summary>
/// Pages of one kind: ids, reference counts and free lists. Ids are offsets in the arena in 4-KiB units, never 0. Draws slabs from the
/// shared arena when it has no free page and gives a slab back as soon as all its pages are free. Engine thread only.
/// </summary>
public sealed class PagePool
{
    private readonly PageArena _arena;
    private readonly Slab?[] _slabs;
    private readonly int _unitsPerPage;
    private readonly int _unitsPerSlab;

    // the slab that served last: most allocations stay in it, so the scan below is rare
    private int _current = -1;

    public PagePool(PoolKind kind, long pageBytes, PageArena arena)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(pageBytes);
        ArgumentOutOfRangeException.ThrowIfNotEqual(pageBytes % PageLayout.Unit, 0);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(pageBytes, arena.SlabBytes);
        Kind = kind;
        PageBytes = pageBytes;
        _arena = arena;
        _slabs = new Slab?[arena.SlabCount];
        _unitsPerPage = (int)(pageBytes / PageLayout.Unit);
        _unitsPerSlab = (int)(arena.SlabBytes / PageLayout.Unit);
    }

    public PoolKind Kind { get; }

    /// <summary>0 when the pool does not exist.</summary>
    public long PageBytes { get; }

    public bool Exists => PageBytes > 0;

    /// <summary>Pages with at least one reference.</summary>
    public int UsedPages { get; private set; }

    /// <summary>Free pages in slabs the pool already holds.</summary>
    public int FreePages { get; private set; }

    /// <summary>Pages one slab yields; slab 0 yields fewer.</summary>
    public int PagesPerSlab => (int)(_arena.SlabBytes / PageBytes);

    /// <summary>A page with one reference, or 0 when neither the pool nor the arena has room.</summary>
    public int Allocate()
    {
        if (FreePages == 0 && !Grow())
        {
            return 0;
        }

        if (_current < 0 || _slabs[_current] is not { FreeCount: > 0 })
        {
            _current = Array.FindIndex(_slabs, slab => slab is { FreeCount: > 0 });
        }

        var page = _slabs[_current]!.Pop();
        FreePages--;
        UsedPages++;
        return _current * _unitsPerSlab + page * _unitsPerPage;
    }

    public void AddReference(int id)
    {
        var (slab, page) = Find(id);
        if (slab.References[page] == 0)
        {
            throw new InvalidOperationException($"{Kind} page {id} is free and cannot be shared.");
        }

        slab.References[page]++;
    }

    public int References(int id)
    {
        var (slab, page) = Find(id);
        return slab.References[page];
    }

    /// <summary>Gives up one reference; the last one frees the page.</summary>
    public void Release(int id)
    {
        var (slab, page) = Find(id);
        if (slab.References[page] == 0)
        {
            throw new InvalidOperationException($"{Kind} page {id} was released twice.");
        }

        if (--slab.References[page] > 0)
        {
            return;
        }

        slab.Push(page);
        FreePages++;
        UsedPages--;
        if (slab.FreeCount == slab.Usable)
        {
            var number = id / _unitsPerSlab;
            _slabs[number] = null;
            FreePages -= slab.Usable;
            _arena.Return(number);
        }
    }

    /// <summary>Recounts everything; throws when a free list, a count or a total disagrees.</summary>
    public void CheckIntegrity()
    {
        int used = 0, free = 0;
        foreach (var slab in _slabs)
        {
            if (slab is null)
            {
                continue;
            }

            slab.Check(Kind);
            free += slab.FreeCount;
            used += slab.Usable - slab.FreeCount;
        }

        if (used != UsedPages || free != FreePages)
        {
            throw new InvalidOperationException($"{Kind} pool counts {UsedPages} used and {FreePages} free pages but holds {used} and {free}.");
        }
    }

    private bool Grow()
    {
        var number = _arena.Take();
        if (number < 0)
        {
            return false;
        }

        var first = number == 0 ? (int)((_arena.ReservedBytes + PageBytes - 1) / PageBytes) : 0;
        if (first >= PagesPerSlab)
        {
            // slab 0 is too small for this pool beside page 0: use another and leave it to pools of smaller pages
            var other = _arena.Take();
            _arena.Return(number);
            if (other < 0)
            {
                return false;
            }

            number = other;
            first = 0;
        }

        var slab = new Slab(first, PagesPerSlab);
        _slabs[number] = slab;
        FreePages += slab.FreeCount;
        _current = number;
        return true;
    }

    private (Slab Slab, int Page) Find(int id)
    {
        var number = id / _unitsPerSlab;
        var rest = id % _unitsPerSlab;
        if (id <= 0 || number >= _slabs.Length || rest % _unitsPerPage != 0 || _slabs[number] is not { } slab
            || rest / _unitsPerPage < slab.First || rest / _unitsPerPage >= slab.References.Length)
        {
            throw new InvalidOperationException($"{id} is not a page of the {Kind} pool.");
        }

        return (slab, rest / _unitsPerPage);
    }

    /// <summary>Pages [First, Count) of one slab.</summary>
    private sealed class Slab
    {
        private readonly int[] _free;

        public Slab(int first, int count)
        {
            First = first;
            References = new int[count];
            _free = new int[count - first];
            for (var page = count - 1; page >= first; page--)
            {
                _free[FreeCount++] = page;
            }
        }

        public int First { get; }

        public int[] References { get; }

        public int FreeCount { get; private set; }

        public int Usable => References.Length - First;

        public int Pop()
        {
            var page = _free[--FreeCount];
            References[page] = 1;
            return page;
        }

        public void Push(int page) => _free[FreeCount++] = page;

        public void Check(PoolKind kind)
        {
            var seen = new bool[References.Length];
            for (var i = 0; i < FreeCount; i++)
            {
                if (References[_free[i]] != 0 || seen[_free[i]])
                {
                    throw new InvalidOperationException($"{kind} page {_free[i]} of a slab is on the free list twice or while in use.");
                }

                seen[_free[i]] = true;
            }

            if (References.Count(count => count > 0) != Usable - FreeCount)
            {
                throw new InvalidOperationException($"A {kind} slab has lost a page.");
            }
        }
    }
}
