using Sals.Engine.Paging;

namespace Sals.Engine.Scheduling;

/// <summary>
/// Prompts that wait for slots, pages and a lane, the most important first, and the prefixes being prefilled at this moment: an equal
/// prefix waits for those instead of being computed twice.
/// </summary>
public sealed class WaitingQueue
{
    private readonly List<Prefill> _waiting = [];
    private readonly Dictionary<PrefixHash, int> _inProgress = [];

    public int Count => _waiting.Count;

    public Prefill this[int index] => _waiting[index];

    public void Enqueue(Prefill prefill)
    {
        var at = _waiting.FindIndex(other => Sequence.CompareImportance(other.Sequences[0], prefill.Sequences[0]) > 0);
        _waiting.Insert(at < 0 ? _waiting.Count : at, prefill);
    }

    public void RemoveAt(int index) => _waiting.RemoveAt(index);

    /// <summary>Takes out one choice of a prompt; the others wait on.</summary>
    public void Remove(Sequence sequence)
    {
        for (var i = 0; i < _waiting.Count; i++)
        {
            var prefill = _waiting[i];
            if (!prefill.Sequences.Contains(sequence))
            {
                continue;
            }

            _waiting.RemoveAt(i);
            var rest = prefill.Sequences.Where(other => other.State != SequenceState.Finished).ToArray();
            if (rest.Length > 0)
            {
                Enqueue(new Prefill(rest));
            }

            return;
        }
    }

    /// <summary>Whether a prefill in progress will leave more of this prompt in the cache than <paramref name="hit"/> pages.</summary>
    public bool IsBeingPrefilled(ReadOnlySpan<PrefixHash> hashes, int hit, int limit) => hit < limit && hit < hashes.Length && _inProgress.ContainsKey(hashes[hit]);

    public void BeginPrefix(ReadOnlySpan<PrefixHash> hashes)
    {
        foreach (var hash in hashes)
        {
            _inProgress[hash] = _inProgress.GetValueOrDefault(hash) + 1;
        }
    }

    public void EndPrefix(ReadOnlySpan<PrefixHash> hashes)
    {
        foreach (var hash in hashes)
        {
            if (--_inProgress[hash] == 0)
            {
                _inProgress.Remove(hash);
            }
        }
    }
}
