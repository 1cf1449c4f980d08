using Sals.Engine.Paging;
using Sals.Engine.Scheduling;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>
/// The cache arena and the page tables of all slots, on the device and mirrored on the host, where plans are checked before anything is
/// enqueued: a wrong page number must not become a stray write. Row SLOTS of a table is empty: padding rows go to page 0.
/// </summary>
internal sealed class CudaCache : IDisposable
{
    private readonly DeviceArena _pages;
    private readonly DeviceArena _tables;
    private readonly DevicePtr<uint>[] _deviceTables;
    private readonly int[][] _hostTables;
    private readonly int _slots;

    /// <param name="bytes">Memory for pages, whole slabs.</param>
    public CudaCache(PageLayout layout, CudaStream stream, int slots, int maxModelLength, long slabBytes, long bytes)
    {
        Layout = layout;
        SlabBytes = slabBytes;
        _slots = slots;
        MaxPages = PagesOf(maxModelLength);
        var entries = (long)(slots + 1) * MaxPages;
        _tables = new DeviceArena("page tables", PoolKinds.Count * DeviceArena.SizeOf<uint>(entries));
        _deviceTables = [.. PoolKinds.All.Select(_ => _tables.Take<uint>(entries))];
        _hostTables = [.. PoolKinds.All.Select(_ => new int[slots * MaxPages])];
        stream.Fill(_tables.Start, _tables.Bytes, 0);
        _pages = new DeviceArena("cache pages", bytes);

        // page 0 is read by padding rows: it must hold numbers
        stream.Fill(_pages.Start, Math.Min(bytes, slabBytes), 0);
    }

    public PageLayout Layout { get; }

    public long SlabBytes { get; }

    public long Bytes => _pages.Bytes;

    /// <summary>Entries of a table row.</summary>
    public int MaxPages { get; }

    public DevicePtr<byte> Pages => _pages.Start;

    public static int PagesOf(int length) => (length + PageLayout.PageSize - 1) / PageLayout.PageSize;

    /// <summary>Where a layer's keys and values lie in its dense or hot pages.</summary>
    public PlaneOffsets Planes(int layer) => new(Layout.KeyOffset(layer), Layout.IsCoded(layer) ? Layout.KeyPeakOffset(layer) : 0);

    /// <summary>[SLOTS + 1, MaxPages]</summary>
    public DevicePtr<uint> Table(PoolKind pool) => _deviceTables[(int)pool];

    /// <summary>[MaxPages]</summary>
    public DevicePtr<uint> Row(PoolKind pool, int slot) => Table(pool) + ((long)slot * MaxPages);

    /// <summary>Notes an edit on the host.</summary>
    public void Set(PageEdit edit)
    {
        if (edit.Page != 0)
        {
            Check(edit.Pool, edit.Page);
        }

        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)edit.Slot, (uint)_slots, nameof(edit));
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)edit.Index, (uint)MaxPages, nameof(edit));
        _hostTables[(int)edit.Pool][(edit.Slot * MaxPages) + edit.Index] = edit.Page;
    }

    /// <summary>The device's copy of an edited entry and what it must hold. An entry edited twice gives the same word twice: their order does not matter.</summary>
    public (DevicePtr<uint> Address, uint Value) Entry(PageEdit edit) =>
        (Row(edit.Pool, edit.Slot) + edit.Index, (uint)_hostTables[(int)edit.Pool][(edit.Slot * MaxPages) + edit.Index]);

    /// <summary>Empties all tables of a slot.</summary>
    public void Clear(CudaStream stream, int slot)
    {
        foreach (var pool in PoolKinds.All)
        {
            _hostTables[(int)pool].AsSpan(slot * MaxPages, MaxPages).Clear();
            stream.Fill(Row(pool, slot), MaxPages, 0);
        }
    }

    public void Copy(CudaStream stream, PageCopy copy)
    {
        Check(copy.Pool, copy.From);
        Check(copy.Pool, copy.To);
        stream.Copy(Page(copy.From), Page(copy.To), Layout.PageBytes(copy.Pool));
    }

    public DevicePtr<byte> Page(int page) => Pages + ((long)page * PageLayout.Unit);

    /// <summary>Throws unless the token at <paramref name="position"/> can be stored and what has become latent by then can be read.</summary>
    /// <param name="latentPages">Leading pages known to be there; raised to those of this length.</param>
    /// <exception cref="InvalidOperationException">The planner forgot one.</exception>
    public void RequireDecode(int slot, int position, ref int latentPages)
    {
        if (Layout.DensePageBytes > 0)
        {
            Require(PoolKind.Dense, slot, position, position + 1);
        }

        if (Layout.HotPageBytes > 0)
        {
            Require(PoolKind.Hot, slot, position, position + 1);
            var latent = CacheTimeline.LatentPages(position + 1, Layout.Spec);
            Require(PoolKind.Latent, slot, latentPages * PageLayout.PageSize, latent * PageLayout.PageSize);
            latentPages = Math.Max(latent, latentPages);
        }
    }

    /// <summary>Throws unless a prompt's cached prefix can be read and the pages of its other tokens written.</summary>
    /// <exception cref="InvalidOperationException">The planner forgot one.</exception>
    public void RequirePrompt(int slot, int history, int length)
    {
        if (Layout.DensePageBytes > 0)
        {
            Require(PoolKind.Dense, slot, 0, length);
        }

        for (var page = 0; Layout.HotPageBytes > 0 && page * PageLayout.PageSize < length; page++)
        {
            var first = page * PageLayout.PageSize;
            var cached = first < history;
            if (CacheTimeline.NeedsHot(page, length, Layout.Spec) || (cached && !Has(PoolKind.Latent, slot, page)))
            {
                Require(PoolKind.Hot, slot, first, first + 1);
            }

            if (!cached && CacheTimeline.NeedsLatent(page, length, Layout.Spec))
            {
                Require(PoolKind.Latent, slot, first, first + 1);
            }
        }
    }

    /// <summary>Throws unless <paramref name="page"/> is one of the pool's.</summary>
    /// <exception cref="InvalidOperationException">The planner is wrong.</exception>
    public void Check(PoolKind pool, int page)
    {
        var size = Layout.PageBytes(pool);
        var (slab, offset) = Math.DivRem((long)page * PageLayout.Unit, SlabBytes);
        if (page <= 0 || size == 0 || offset + size > SlabBytes || (slab + 1) * SlabBytes > Bytes)
        {
            throw new InvalidOperationException($"Page {page} of the {pool} pool is not a page of this cache ({Bytes / PageLayout.Unit} units).");
        }
    }

    private bool Has(PoolKind pool, int slot, int index) => index < MaxPages && _hostTables[(int)pool][(slot * MaxPages) + index] != 0;

    /// <summary>Throws unless tokens [first, end) of a slot have pages.</summary>
    private void Require(PoolKind pool, int slot, int first, int end)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThanOrEqual((uint)slot, (uint)_slots, nameof(slot));
        for (var index = first / PageLayout.PageSize; index * PageLayout.PageSize < end; index++)
        {
            if (!Has(pool, slot, index))
            {
                throw new InvalidOperationException($"Slot {slot} has no {pool} page for tokens from {index * PageLayout.PageSize}.");
            }
        }
    }

    public void Dispose()
    {
        _pages.Dispose();
        _tables.Dispose();
    }
}
