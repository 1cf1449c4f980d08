using System.Runtime.InteropServices;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Paging;
using Sals.Engine.Scheduling;

namespace Sals.Engine.Backends.Cpu;

/// <summary>
/// The bytes behind the page ids and the page tables of all slots. The arena is made of slabs that come into being when one of their
/// pages is first named in a plan, so a machine pays for the cache it has used. Page ids are offsets in 4-KiB units; a page never straddles slabs.
/// </summary>
internal sealed class CpuCache
{
    private readonly byte[]?[] _slabs;
    private readonly int[][] _tables;
    private readonly int _tableLength;

    /// <param name="slots">Slots, each with one table per pool.</param>
    /// <param name="maxModelLength">Tokens of the longest sequence.</param>
    /// <param name="bytes">Memory for pages; rounded down to whole slabs, but never below two.</param>
    public CpuCache(PageLayout layout, int slots, int maxModelLength, long bytes)
    {
        Layout = layout;
        SlabBytes = layout.SlabBytes(bytes);
        if (SlabBytes > Array.MaxLength)
        {
            throw new ArgumentException($"Slabs of {SlabBytes} bytes are more than one array of the CPU backend can hold.");
        }

        _slabs = new byte[Math.Max(2, bytes / SlabBytes)][];
        _tableLength = (maxModelLength + PageLayout.PageSize - 1) / PageLayout.PageSize;
        _tables = [.. PoolKinds.All.Select(_ => new int[slots * _tableLength])];
    }

    public PageLayout Layout { get; }

    public long SlabBytes { get; }

    /// <summary>Bytes of the arena, whole slabs.</summary>
    public long Bytes => _slabs.Length * SlabBytes;

    /// <summary>Bytes of the slabs that exist.</summary>
    public long AllocatedBytes => _slabs.Count(s => s is not null) * SlabBytes;

    /// <summary>Pages of a slot in one pool, [ceil(longest sequence / P)].</summary>
    public Span<int> Table(PoolKind pool, int slot) => _tables[(int)pool].AsSpan(slot * _tableLength, _tableLength);

    public void ClearTables(int slot)
    {
        foreach (var pool in PoolKinds.All)
        {
            Table(pool, slot).Clear();
        }
    }

    public void Apply(PageEdit edit)
    {
        if (edit.Page != 0)
        {
            _ = Page(edit.Pool, edit.Page);
        }

        Table(edit.Pool, edit.Slot)[edit.Index] = edit.Page;
    }

    public void Copy(PageCopy copy) => Page(copy.Pool, copy.From).CopyTo(Page(copy.Pool, copy.To));

    /// <summary>Bytes of a page [PageLayout.PageBytes(pool)].</summary>
    /// <exception cref="InvalidOperationException">No page, or beyond the arena or a slab: the planner is wrong.</exception>
    public Span<byte> Page(PoolKind pool, int page)
    {
        var (slab, offset) = Math.DivRem((long)page * PageLayout.Unit, SlabBytes);
        var size = Layout.PageBytes(pool);
        if (page <= 0 || size == 0 || slab >= _slabs.Length || offset + size > SlabBytes)
        {
            throw new InvalidOperationException($"Page {page} of the {pool} pool is not a page of this cache ({Bytes / PageLayout.Unit} units).");
        }

        return (_slabs[slab] ??= GC.AllocateUninitializedArray<byte>((int)SlabBytes)).AsSpan((int)offset, (int)size);
    }

    /// <summary>Whether a pool's keys and values are int8 codes, which <see cref="Coded"/> gives and <see cref="Keys"/> and <see cref="Values"/> do not.</summary>
    public bool IsCoded(PoolKind pool) => pool == PoolKind.Dense && Layout.Spec.DenseInt8;

    /// <summary>K and V of one layer in dense page <paramref name="index"/> of a slot, where those are int8 codes.</summary>
    public HeadPlanes Coded(int slot, int index, int layer) => new(Page(PoolKind.Dense, Named(PoolKind.Dense, slot, index)), Layout, layer);

    /// <summary>Stores the token at <paramref name="position"/> in its dense or hot page.</summary>
    /// <param name="keys">[HK, DH] after rope</param>
    /// <param name="values">[HK, DH]</param>
    public void Store(PoolKind pool, int slot, int layer, int position, ReadOnlySpan<float> keys, ReadOnlySpan<float> values)
    {
        var (page, t) = Math.DivRem(position, PageLayout.PageSize);
        if (IsCoded(pool))
        {
            Coded(slot, page, layer).Store(t, keys, values);
            return;
        }

        keys.CopyTo(Keys(pool, slot, page, layer)[(t * keys.Length)..]);
        values.CopyTo(Values(pool, slot, page, layer)[(t * values.Length)..]);
    }

    /// <summary>Reads what <see cref="Store"/> stored; int8 codes as the numbers that they stand for.</summary>
    public void Load(PoolKind pool, int slot, int layer, int position, Span<float> keys, Span<float> values)
    {
        var (page, t) = Math.DivRem(position, PageLayout.PageSize);
        if (IsCoded(pool))
        {
            Coded(slot, page, layer).Load(t, keys, values);
            return;
        }

        Keys(pool, slot, page, layer).Slice(t * keys.Length, keys.Length).CopyTo(keys);
        Values(pool, slot, page, layer).Slice(t * values.Length, values.Length).CopyTo(values);
    }

    /// <summary>K of one layer in page <paramref name="index"/> of a slot, [P, HK, DH].</summary>
    public Span<float> Keys(PoolKind pool, int slot, int index, int layer) => Plane(pool, slot, index, Layout.KeyOffset(layer));

    /// <summary>V of one layer in page <paramref name="index"/> of a slot, [P, HK, DH].</summary>
    public Span<float> Values(PoolKind pool, int slot, int index, int layer) => Plane(pool, slot, index, Layout.ValueOffset(layer));

    private Span<float> Plane(PoolKind pool, int slot, int index, long offset) =>
        MemoryMarshal.Cast<byte, float>(Page(pool, Named(pool, slot, index)).Slice((int)offset, Layout.ExactPlaneBytes));

    private int Named(PoolKind pool, int slot, int index)
    {
        var page = Table(pool, slot)[index];
        return page != 0 ? page : throw new InvalidOperationException($"Slot {slot} has no page {index} in the {pool} pool.");
    }
}
