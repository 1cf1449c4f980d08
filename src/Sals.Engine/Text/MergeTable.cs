namespace Sals.Engine.Text;

/// <summary>
/// (left id, right id) → (rank, merged id). Open addressing in two flat arrays: encoding is mostly look-ups in here.
/// Filled once at load, read by any number of threads after.
/// </summary>
internal sealed class MergeTable
{
    private const ulong Empty = ulong.MaxValue;

    /// <summary>Key and value side by side: one cache line a look-up.</summary>
    private readonly (ulong Key, ulong Value)[] _slots;
    private readonly int _shift;

    public MergeTable(int capacity)
    {
        var bits = Math.Max(4, 64 - System.Numerics.BitOperations.LeadingZeroCount((ulong)capacity * 2));
        _slots = new (ulong, ulong)[1 << bits];
        _shift = 64 - bits;
        Array.Fill(_slots, (Empty, 0UL));
    }

    /// <summary>Adds a merge; the first one of a pair wins.</summary>
    public void Add(int left, int right, int rank, int merged)
    {
        var key = Key(left, right);
        var slot = Slot(key);
        while (_slots[slot].Key != Empty)
        {
            if (_slots[slot].Key == key)
            {
                return;
            }

            slot = (slot + 1) & (_slots.Length - 1);
        }

        _slots[slot] = (key, ((ulong)(uint)rank << 32) | (uint)merged);
    }

    /// <summary>True when the pair merges; smaller ranks merge first.</summary>
    public bool TryGet(int left, int right, out int rank, out int merged)
    {
        var key = Key(left, right);
        var slot = Slot(key);
        while (true)
        {
            var (found, value) = _slots[slot];
            if (found == key)
            {
                rank = (int)(value >> 32);
                merged = (int)(uint)value;
                return true;
            }

            if (found == Empty)
            {
                rank = int.MaxValue;
                merged = -1;
                return false;
            }

            slot = (slot + 1) & (_slots.Length - 1);
        }
    }

    private static ulong Key(int left, int right) => ((ulong)(uint)left << 32) | (uint)right;

    private int Slot(ulong key) => (int)((key * 0x9E3779B97F4A7C15UL) >> _shift);
}
