namespace Sals.Engine.Scheduling;

/// <summary>A list with a fixed capacity that never allocates after construction.</summary>
public sealed class PlanList<T>
{
    private readonly T[] _items;

    public PlanList(int capacity) => _items = new T[capacity];

    public int Count { get; private set; }

    public int Capacity => _items.Length;

    public int Free => _items.Length - Count;

    public ref readonly T this[int index] => ref Items[index];

    public ReadOnlySpan<T> Items => _items.AsSpan(0, Count);

    /// <exception cref="InvalidOperationException">The list is full: the planner did not ask for <see cref="Free"/>.</exception>
    public void Add(T item)
    {
        if (Count == _items.Length)
        {
            throw new InvalidOperationException($"A step plan holds at most {_items.Length} entries of {typeof(T).Name}.");
        }

        _items[Count++] = item;
    }

    public void Clear()
    {
        // prompts and sampling settings must not stay alive through a stale entry
        Array.Clear(_items, 0, Count);
        Count = 0;
    }
}
