using System.Collections.Concurrent;
using System.Text;

namespace Sals.Engine.Text;

/// <summary>
/// Byte-pair encoding of one word: its characters become symbols, then the adjacent pair with the lowest rank merges
/// (leftmost of equals) until none does. Short words take a plain scan; long ones a heap over a linked list, so that
/// n characters cost n log n. Thread-safe; words are remembered in a bounded cache.
/// </summary>
internal sealed class BpeModel
{
    /// <summary>Below this many symbols a scan beats the heap; it bounds the quadratic part.</summary>
    private const int ScanLimit = 32;

    private const int CachedWordLength = 48;
    private const int CacheCapacity = 65_536;
    private const char WordMark = '\u2581';

    [ThreadStatic]
    private static BpeWorkspace? _workspace;

    private readonly Dictionary<string, int> _vocabulary;
    private readonly Dictionary<string, int>.AlternateLookup<ReadOnlySpan<char>> _lookup;
    private readonly MergeTable _merges;
    private readonly BpeOptions _options;
    private readonly int _unknownId;
    private readonly int[]? _byteIds;
    private readonly int[] _asciiIds = new int[128];
    private readonly bool _splitsAtWordMark;
    private readonly ConcurrentDictionary<string, int[]> _cache = new(StringComparer.Ordinal);
    private readonly ConcurrentDictionary<string, int[]>.AlternateLookup<ReadOnlySpan<char>> _cacheLookup;
    private int _cached;

    /// <param name="vocabulary">Token → id; ordinal.</param>
    /// <param name="merges">Merges over ids of <paramref name="vocabulary"/>.</param>
    /// <param name="options">How characters outside the vocabulary are treated.</param>
    /// <param name="mergedTokens">Results of all merges: decides whether words may be cut at U+2581 before merging.</param>
    public BpeModel(Dictionary<string, int> vocabulary, MergeTable merges, BpeOptions options, IEnumerable<string> mergedTokens)
    {
        _vocabulary = vocabulary;
        _lookup = vocabulary.GetAlternateLookup<ReadOnlySpan<char>>();
        _cacheLookup = _cache.GetAlternateLookup<ReadOnlySpan<char>>();
        _merges = merges;
        _options = options;
        _unknownId = options.UnknownToken is { } unknown && vocabulary.TryGetValue(unknown, out var id) ? id : -1;
        _byteIds = options.ByteFallback ? ByteIds(vocabulary) : null;
        for (var c = 0; c < _asciiIds.Length; c++)
        {
            _asciiIds[c] = vocabulary.TryGetValue(((char)c).ToString(), out var ascii) ? ascii : -1;
        }

        // No merge can reach across "x▁" when no merged token contains a mark after something else: exact, and it makes words of sentences.
        _splitsAtWordMark = vocabulary.ContainsKey(WordMark.ToString()) && !mergedTokens.Any(HasInnerWordMark);
    }

    /// <summary>Appends the ids of <paramref name="word"/>.</summary>
    public void Encode(ReadOnlySpan<char> word, List<int> output)
    {
        if (_options.IgnoreMerges && _lookup.TryGetValue(word, out var whole))
        {
            output.Add(whole);
            return;
        }

        if (!_splitsAtWordMark)
        {
            EncodeCached(word, output);
            return;
        }

        var start = 0;
        for (var i = 1; i < word.Length; i++)
        {
            if (word[i] == WordMark && word[i - 1] != WordMark)
            {
                EncodeCached(word[start..i], output);
                start = i;
            }
        }

        EncodeCached(word[start..], output);
    }

    private static bool HasInnerWordMark(string token)
    {
        var mark = token.LastIndexOf(WordMark);
        return mark > 0 && token.AsSpan(0, mark).ContainsAnyExcept(WordMark);
    }

    private static int[]? ByteIds(Dictionary<string, int> vocabulary)
    {
        var ids = new int[256];
        for (var b = 0; b < 256; b++)
        {
            ids[b] = vocabulary.TryGetValue($"<0x{b:X2}>", out var id) ? id : -1;
        }

        return ids;
    }

    private void EncodeCached(ReadOnlySpan<char> word, List<int> output)
    {
        if (word.Length > CachedWordLength)
        {
            var long_ = _workspace ??= new BpeWorkspace();
            Merge(word, long_);
            long_.CopyTo(output);
            return;
        }

        if (!_cacheLookup.TryGetValue(word, out var ids))
        {
            var workspace = _workspace ??= new BpeWorkspace();
            Merge(word, workspace);
            ids = workspace.ToArray();
            if (Interlocked.Increment(ref _cached) > CacheCapacity)
            {
                _cache.Clear();
                _cached = 0;
            }

            _cache[word.ToString()] = ids;
        }

        output.AddRange(ids.AsSpan());
    }

    private void Merge(ReadOnlySpan<char> word, BpeWorkspace work)
    {
        Symbols(word, work);
        if (work.Count < ScanLimit)
        {
            MergeByScan(work);
        }
        else
        {
            MergeByHeap(work);
        }
    }

    /// <summary>One symbol per code point; unknown ones become bytes, the unknown token, or nothing.</summary>
    private void Symbols(ReadOnlySpan<char> word, BpeWorkspace work)
    {
        work.Clear(word.Length);
        var unknown = false;
        Span<byte> utf8 = stackalloc byte[4];
        for (var i = 0; i < word.Length;)
        {
            var first = word[i];
            var length = char.IsHighSurrogate(first) && i + 1 < word.Length && char.IsLowSurrogate(word[i + 1]) ? 2 : 1;
            var id = first < 128 ? _asciiIds[first] : _lookup.TryGetValue(word.Slice(i, length), out var known) ? known : -1;
            if (id >= 0)
            {
                FlushUnknown(work, ref unknown);
                work.Add(id);
            }
            else if (!AddBytes(word.Slice(i, length), utf8, work) && _unknownId >= 0)
            {
                if (!_options.FuseUnknown)
                {
                    FlushUnknown(work, ref unknown);
                }

                unknown = true;
            }

            i += length;
        }

        FlushUnknown(work, ref unknown);
    }

    private void FlushUnknown(BpeWorkspace work, ref bool unknown)
    {
        if (unknown)
        {
            work.Add(_unknownId);
            unknown = false;
        }
    }

    private bool AddBytes(ReadOnlySpan<char> character, Span<byte> utf8, BpeWorkspace work)
    {
        if (_byteIds is null)
        {
            return false;
        }

        var count = Encoding.UTF8.GetBytes(character, utf8);
        for (var b = 0; b < count; b++)
        {
            if (_byteIds[utf8[b]] < 0)
            {
                return false;
            }
        }

        for (var b = 0; b < count; b++)
        {
            work.Add(_byteIds[utf8[b]]);
        }

        return true;
    }

    private void MergeByScan(BpeWorkspace work)
    {
        Span<int> ranks = stackalloc int[ScanLimit];
        Span<int> merged = stackalloc int[ScanLimit];
        var ids = work.Ids.AsSpan(0, work.Count);
        for (var i = 0; i + 1 < ids.Length; i++)
        {
            _merges.TryGet(ids[i], ids[i + 1], out ranks[i], out merged[i]);
        }

        while (ids.Length > 1)
        {
            var best = 0;
            for (var i = 1; i + 1 < ids.Length; i++)
            {
                if (ranks[i] < ranks[best])
                {
                    best = i;
                }
            }

            if (ranks[best] == int.MaxValue)
            {
                break;
            }

            ids[best] = merged[best];
            ids[(best + 2)..].CopyTo(ids[(best + 1)..]);
            ranks[(best + 1)..].CopyTo(ranks[best..]);
            merged[(best + 1)..].CopyTo(merged[best..]);
            ids = ids[..^1];
            if (best > 0)
            {
                _merges.TryGet(ids[best - 1], ids[best], out ranks[best - 1], out merged[best - 1]);
            }

            if (best + 1 < ids.Length)
            {
                _merges.TryGet(ids[best], ids[best + 1], out ranks[best], out merged[best]);
            }
        }

        work.Count = ids.Length;
    }

    private void MergeByHeap(BpeWorkspace work)
    {
        var count = work.Count;
        var ids = work.Ids;
        work.Link();
        var next = work.Next;
        var previous = work.Previous;
        var queue = work.Queue;
        queue.Clear();
        for (var i = 0; i + 1 < count; i++)
        {
            if (_merges.TryGet(ids[i], ids[i + 1], out var rank, out _))
            {
                queue.AddFirst(rank, i);
            }
        }

        queue.Sort();
        while (!queue.IsEmpty)
        {
            var (rank, left) = queue.Pop();
            var right = ids[left] < 0 ? -1 : next[left];

            // an entry is stale when its pair has changed since: the pair that stands there now has its own entry
            if (right < 0 || !_merges.TryGet(ids[left], ids[right], out var now, out var merged) || now != rank)
            {
                continue;
            }

            ids[left] = merged;
            ids[right] = -1;
            next[left] = next[right];
            if (next[left] >= 0)
            {
                previous[next[left]] = left;
                if (_merges.TryGet(merged, ids[next[left]], out var after, out _))
                {
                    queue.Push(after, left);
                }
            }

            var before = previous[left];
            if (before >= 0 && _merges.TryGet(ids[before], merged, out var rankBefore, out _))
            {
                queue.Push(rankBefore, before);
            }
        }

        var kept = 0;
        for (var i = 0; i >= 0; i = next[i])
        {
            ids[kept++] = ids[i];
        }

        work.Count = kept;
    }
}
