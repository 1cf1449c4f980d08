namespace Sals.Engine.Paging;

/// <summary>One sequence's pages of one pool, indexed by page number of the sequence; 0 = none (flushed, or not reached).</summary>
public sealed class PageTable
{
    private int[] _pages = new int[16];

    /// <summary>One past the last index ever set since the last <see cref="Clear"/>.</summary>
    public int Count { get; private set; }

    /// <summary>Pages in the table: entries that are not 0.</summary>
    public int Held => Count - _pages.AsSpan(0, Count).Count(0);

    public int this[int index]
    {
        get => index < Count ? _pages[index] : 0;
        set
        {
            if (index >= _pages.Length)
            {
                Array.Resize(ref _pages, Math.Max(index + 1, _pages.Length * 2));
            }

            _pages[index] = value;
            Count = Math.Max(Count, index + 1);
        }
    }

    public void Clear()
    {
        Array.Clear(_pages, 0, Count);
        Count = 0;
    }
}
