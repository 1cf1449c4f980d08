namespace Sals.Engine.Text;

/// <summary>Scratch of one thread; arrays grow to the longest word seen and are dropped when that was huge.</summary>
internal sealed class BpeWorkspace
{
    private const int KeptLength = 1 << 16;

    public int[] Ids { get; private set; } = new int[256];

    public int[] Next { get; private set; } = [];

    public int[] Previous { get; private set; } = [];

    public MergeQueue Queue { get; private set; } = new();

    public int Count { get; set; }

    public void Clear(int expected)
    {
        Count = 0;
        if (Ids.Length > KeptLength && expected < KeptLength)
        {
            Ids = new int[256];
            Next = [];
            Previous = [];
            Queue = new MergeQueue();
        }
    }

    public void Add(int id)
    {
        if (Count == Ids.Length)
        {
            var grown = new int[Count * 2];
            Ids.CopyTo(grown, 0);
            Ids = grown;
        }

        Ids[Count++] = id;
    }

    public void Link()
    {
        if (Next.Length < Count)
        {
            Next = new int[Ids.Length];
            Previous = new int[Ids.Length];
        }

        for (var i = 0; i < Count; i++)
        {
            Next[i] = i + 1;
            Previous[i] = i - 1;
        }

        Next[Count - 1] = -1;
    }

    public int[] ToArray() => Ids.AsSpan(0, Count).ToArray();

    public void CopyTo(List<int> output) => output.AddRange(Ids.AsSpan(0, Count));
}
