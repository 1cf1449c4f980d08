namespace Sals.Engine.Paging;

/// <summary>
/// Full prompt pages kept for reuse, by <see cref="PrefixHash"/>. An entry holds one reference on each of its pages, so the pages survive
/// their first owner; when a pool runs dry the least recently used entry that nobody else uses is given up. Engine thread only.
/// </summary>
public sealed class PrefixIndex
{
    private readonly Dictionary<PrefixHash, Entry> _entries = [];
    private readonly LinkedList<Entry> _recent = new();
    private readonly PagePool[] _pools;

    public PrefixIndex(PagePool[] pools) => _pools = pools;

    public int Count => _entries.Count;

    /// <summary>Null when the prefix is not cached.</summary>
    public Entry? Find(PrefixHash hash) => _entries.GetValueOrDefault(hash);

    /// <summary>Marks an entry as just used. Callers touch a chain from its end to its start, so that tails are given up first.</summary>
    public void Touch(Entry entry)
    {
        _recent.Remove(entry.Node);
        _recent.AddFirst(entry.Node);
    }

    /// <summary>Adds a page's forms (0 = not held) under its hash, or completes an entry that lacks one. Takes references of its own.</summary>
    public void Add(PrefixHash hash, int dense, int hot, int latent)
    {
        if (!_entries.TryGetValue(hash, out var entry))
        {
            entry = new Entry(hash);
            _entries.Add(hash, entry);
            _recent.AddFirst(entry.Node);
        }

        Fill(entry, PoolKind.Dense, dense);
        Fill(entry, PoolKind.Hot, hot);
        Fill(entry, PoolKind.Latent, latent);
    }

    /// <summary>
    /// Gives up the least recently used entry that nobody else uses, whatever pools its pages are of: they share one arena. False when every entry is
    /// in use.
    /// </summary>
    public bool GiveUpOne()
    {
        for (var node = _recent.Last; node is not null; node = node.Previous)
        {
            if (IsIdle(node.Value))
            {
                Remove(node.Value);
                return true;
            }
        }

        return false;
    }

    /// <summary>Pages of <paramref name="kind"/> that only the index holds.</summary>
    public int IdlePages(PoolKind kind)
    {
        var count = 0;
        foreach (var entry in _recent)
        {
            var page = entry[kind];
            if (page != 0 && _pools[(int)kind].References(page) == 1)
            {
                count++;
            }
        }

        return count;
    }

    public void Clear()
    {
        while (_recent.First is { } node)
        {
            Remove(node.Value);
        }
    }

    /// <summary>Adds the index's references on each page to <paramref name="counts"/>, for an integrity check.</summary>
    public void CountReferences(Dictionary<(PoolKind Pool, int Page), int> counts)
    {
        foreach (var entry in _recent)
        {
            foreach (var kind in PoolKinds.All)
            {
                if (entry[kind] != 0)
                {
                    counts[(kind, entry[kind])] = counts.GetValueOrDefault((kind, entry[kind])) + 1;
                }
            }
        }
    }

    private bool IsIdle(Entry entry)
    {
        foreach (var kind in PoolKinds.All)
        {
            if (entry[kind] != 0 && _pools[(int)kind].References(entry[kind]) > 1)
            {
                return false;
            }
        }

        return true;
    }

    private void Fill(Entry entry, PoolKind kind, int page)
    {
        if (page != 0 && entry[kind] == 0)
        {
            _pools[(int)kind].AddReference(page);
            entry[kind] = page;
        }
    }

    private void Remove(Entry entry)
    {
        foreach (var kind in PoolKinds.All)
        {
            if (entry[kind] != 0)
            {
                _pools[(int)kind].Release(entry[kind]);
            }
        }

        _entries.Remove(entry.Hash);
        _recent.Remove(entry.Node);
    }

    /// <summary>One page of a prefix in every form it is held.</summary>
    public sealed class Entry
    {
        private readonly int[] _pages = new int[PoolKinds.Count];

        internal Entry(PrefixHash hash)
        {
            Hash = hash;
            Node = new LinkedListNode<Entry>(this);
        }

        public PrefixHash Hash { get; }

        internal LinkedListNode<Entry> Node { get; }

        /// <summary>Page id of one form; 0 = not held.</summary>
        public int this[PoolKind kind]
        {
            get => _pages[(int)kind];
            internal set => _pages[(int)kind] = value;
        }
    }
}
