namespace Sals.Engine.Text;

/// <summary>
/// Priority queue of (rank, position) packed in one integer: lowest rank first, leftmost of equal ranks. The pairs known from the start are
/// sorted once and read in order; only those that arise later go through the heap, which stays small.
/// </summary>
internal sealed class MergeQueue
{
    private ulong[] _first = new ulong[64];
    private ulong[] _items = new ulong[64];
    private int _firstCount;
    private int _firstAt;
    private int _count;

    public bool IsEmpty => _count == 0 && _firstAt == _firstCount;

    public void Clear() => _count = _firstCount = _firstAt = 0;

    /// <summary>Adds a pair known from the start; <see cref="Sort"/> before the first <see cref="Pop"/>.</summary>
    public void AddFirst(int rank, int position)
    {
        if (_firstCount == _first.Length)
        {
            Array.Resize(ref _first, _firstCount * 2);
        }

        _first[_firstCount++] = Pack(rank, position);
    }

    public void Sort() => Array.Sort(_first, 0, _firstCount);

    public void Push(int rank, int position)
    {
        if (_count == _items.Length)
        {
            Array.Resize(ref _items, _count * 2);
        }

        var item = Pack(rank, position);
        var hole = _count++;
        while (hole > 0)
        {
            var parent = (hole - 1) / 4;
            if (_items[parent] <= item)
            {
                break;
            }

            _items[hole] = _items[parent];
            hole = parent;
        }

        _items[hole] = item;
    }

    public (int Rank, int Position) Pop()
    {
        if (_firstAt < _firstCount && (_count == 0 || _first[_firstAt] < _items[0]))
        {
            return Unpack(_first[_firstAt++]);
        }

        var top = _items[0];
        _items[0] = _items[--_count];
        if (_count > 1)
        {
            SiftDown(0);
        }

        return Unpack(top);
    }

    private static (int Rank, int Position) Unpack(ulong item) => ((int)(item >> 32), (int)(uint)item);

    private static ulong Pack(int rank, int position) => ((ulong)(uint)rank << 32) | (uint)position;

    private void SiftDown(int hole)
    {
        var item = _items[hole];
        while (true)
        {
            var first = (hole * 4) + 1;
            if (first >= _count)
            {
                break;
            }

            var best = first;
            var last = Math.Min(first + 4, _count);
            for (var child = first + 1; child < last; child++)
            {
                if (_items[child] < _items[best])
                {
                    best = child;
                }
            }

            if (_items[best] >= item)
            {
                break;
            }

            _items[hole] = _items[best];
            hole = best;
        }

        _items[hole] = item;
    }
}
