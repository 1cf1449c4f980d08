namespace Sals.Engine.Paging;

/// <summary>
/// The cache memory of a backend as numbered slabs that pools take and give back, so that many short chats (hot pages) and a few
/// long documents (latent pages) can both use all of it. Bookkeeping only: the bytes belong to the backend.
/// Slab 0 begins with page 0, which is nobody's; pools skip <see cref="ReservedBytes"/> there.
/// </summary>
public sealed class PageArena
{
    private readonly Stack<int> _free;
    private readonly bool[] _taken;

    /// <param name="totalBytes">A multiple of <paramref name="slabBytes"/>.</param>
    /// <param name="slabBytes">A multiple of 4 KiB.</param>
    /// <param name="reservedBytes">Bytes of page 0: the largest page of any pool.</param>
    public PageArena(long totalBytes, long slabBytes, long reservedBytes)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(totalBytes, slabBytes);
        ArgumentOutOfRangeException.ThrowIfNotEqual(totalBytes % slabBytes, 0);
        ArgumentOutOfRangeException.ThrowIfNotEqual(slabBytes % PageLayout.Unit, 0);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(totalBytes / PageLayout.Unit, int.MaxValue);
        SlabBytes = slabBytes;
        ReservedBytes = reservedBytes;
        SlabCount = (int)(totalBytes / slabBytes);
        _taken = new bool[SlabCount];
        _free = new Stack<int>(SlabCount);
        for (var slab = SlabCount - 1; slab >= 0; slab--)
        {
            _free.Push(slab);
        }
    }

    public long SlabBytes { get; }

    public long ReservedBytes { get; }

    public int SlabCount { get; }

    public int FreeSlabs => _free.Count;

    /// <summary>A slab number, or -1 when all are taken.</summary>
    public int Take()
    {
        if (!_free.TryPop(out var slab))
        {
            return -1;
        }

        _taken[slab] = true;
        return slab;
    }

    public void Return(int slab)
    {
        if (!_taken[slab])
        {
            throw new InvalidOperationException($"Slab {slab} was returned twice.");
        }

        _taken[slab] = false;
        _free.Push(slab);
    }
}
