namespace Sals.Engine.Text;

/// <summary>Min-heap of (rank, position) packed in one integer: lowest rank first, leftmost of equal ranks.</summary>
internal sealed class MergeQueue
{
    private ulong[] _items = new ulong[64];
    private int _count;

    public int Count => _count;

    public void Clear() => _count = 0;

    /// <summary>Appends without ordering; call <see cref="Heapify"/> before the first <see cref="Pop"/>.</summary>
    public void AddUnordered(int rank, int position)
    {
        Grow();
        _items[_count++] = Pack(rank, position);
    }

    public void Heapify()
    {
        for (var i = (_count - 2) / 4; i >= 0; i--)
        {
            SiftDown(i);
        }
    }

    public void Push(int rank, int position)
    {
        Grow();
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
        var top = _items[0];
        _items[0] = _items[--_count];
        if (_count > 1)
        {
            SiftDown(0);
        }

        return ((int)(top >> 32), (int)(uint)top);
    }

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

    private void Grow()
    {
        if (_count == _items.Length)
        {
            Array.Resize(ref _items, _count * 2);
        }
    }
}
