using Sals.Engine.Backends;
using Sals.Engine.Paging;

namespace Sals.Engine.Scheduling;

/// <summary>
/// Which waiting prompts begin, and what each must get before: slots, a lane and the pages of all its choices, less what the prefix cache
/// already holds. Takes all or nothing. Owns the lanes; engine thread only.
/// </summary>
public sealed class Admission
{
    // how far behind a prompt that lacks a lane others are looked at; pages and slots are never taken past it
    private const int LookPast = 32;

    private readonly BackendInfo _info;
    private readonly CachePools _pools;
    private readonly SlotTable _slots;
    private readonly WaitingQueue _waiting;
    private readonly TokenPublisher _publisher;
    private readonly EngineStats _stats;

    public Admission(BackendInfo info, CachePools pools, SlotTable slots, WaitingQueue waiting, TokenPublisher publisher, EngineStats stats)
    {
        _info = info;
        _pools = pools;
        _slots = slots;
        _waiting = waiting;
        _publisher = publisher;
        _stats = stats;
        Lanes = [.. info.LaneLengths.Select((length, number) => new PrefillLane(number, length)).OrderBy(lane => lane.Length)];
    }

    /// <summary>Ascending by length.</summary>
    public PrefillLane[] Lanes { get; }

    /// <summary>Begins waiting prompts, the most important first, and adds them to <paramref name="prefilling"/>.</summary>
    /// <param name="running">Sequences that may need more pages.</param>
    /// <returns>A prompt for which there are too few pages, so that it and all behind it wait; null when there is none.</returns>
    public Prefill? Admit(PlannedStep step, List<Prefill> prefilling, int running, long stepNumber)
    {
        _stats.Deferred = 0;
        var reserved = int.MaxValue;
        for (var i = 0; i < Math.Min(_waiting.Count, LookPast); i++)
        {
            var prefill = _waiting[i];
            var (hits, limit) = FindHit(prefill);
            if (_waiting.IsBeingPrefilled(prefill.Generation.Hashes, hits, limit))
            {
                _stats.Deferred++;
                continue;
            }

            if (!HasSlots(prefill, step.Plan))
            {
                return null;
            }

            if (!TryTakeLane(prefill, reserved))
            {
                // whoever comes later may pass by, but not through a lane that this prompt is waiting for
                reserved = Math.Min(reserved, prefill.PromptLength);
                continue;
            }

            if (!TryTakePages(prefill, hits, running, step.Plan))
            {
                ReturnLane(prefill);
                return prefill;
            }

            _waiting.RemoveAt(i--);
            Start(prefill, hits, step);
            prefill.StartedStep = stepNumber;
            prefilling.Add(prefill);
            _waiting.BeginPrefix(prefill.Generation.Hashes);
            _publisher.Started(prefill, prefill.Generation.Hashes.Length > 0);
        }

        return null;
    }

    /// <summary>Steps run in order, so the region may be taken again as soon as its last slice is planned.</summary>
    public static void ReturnLane(Prefill prefill)
    {
        prefill.Lane!.Return(prefill.LaneOffset);
        prefill.Lane = null;
    }

    /// <summary>Whether the plan and the slot table have room for all choices.</summary>
    private bool HasSlots(Prefill prefill, StepPlan plan) => _slots.Free >= prefill.Sequences.Length && plan.Starts.Free >= prefill.Sequences.Length;

    /// <summary>Pages of the prompt found in the prefix cache, and how many there could be.</summary>
    private (int Hits, int Limit) FindHit(Prefill prefill)
    {
        var first = prefill.Sequences[0];
        // a replay takes exact pages freely, lossy ones (latent, or int8 in the dense layers) only where its first run did: its text must not change
        var lossy = first.FirstHit < 0 ? int.MaxValue : first.FirstHit / PageLayout.PageSize;
        var hits = UsablePages(prefill.PromptLength, prefill.Generation.Hashes, lossy);
        return (hits, Math.Min(lossy, CacheTimeline.ReusablePages(prefill.PromptLength, _info.Spec)));
    }

    /// <summary>A lane region, in lanes shorter than <paramref name="reserved"/> tokens only.</summary>
    private bool TryTakeLane(Prefill prefill, int reserved)
    {
        // short prompts take the short lane first and leave the long one to whom needs it
        foreach (var lane in Lanes)
        {
            var offset = lane.Length < reserved ? lane.TryTake(prefill.PromptLength) : -1;
            if (offset >= 0)
            {
                prefill.Lane = lane;
                prefill.LaneOffset = offset;
                return true;
            }
        }

        return false;
    }

    /// <summary>
    /// Pages of all choices. Leaves a page of each pool to every one of <paramref name="running"/> sequences, so that admitting does not preempt at once.
    /// </summary>
    private bool TryTakePages(Prefill prefill, int hits, int running, StepPlan plan)
    {
        var maxLength = Math.Min(prefill.PromptLength + prefill.Generation.Request.MaxTokens, _info.MaxModelLength);
        var taken = 0;
        var ok = true;
        for (; ok && taken < prefill.Sequences.Length; taken++)
        {
            var pages = new SequencePages(_pools, _info.Spec, maxLength);
            prefill.Sequences[taken].Pages = pages;
            ok = taken == 0
                ? pages.TryAdmit(prefill.PromptLength, prefill.Generation.Hashes, hits)
                : pages.TryFork(prefill.Sequences[0].Pages!, prefill.PromptLength);
        }

        ok = ok && (running == 0 || _pools.TotalBytes - _pools.UsedBytes + _pools.IdleBytes >= running * _info.PageBytes.Sum());
        // the primary's table goes out at once, since the prefill writes through it; an empty plan always has room
        ok = ok && prefill.Sequences[0].Pages!.CanSend(plan);
        for (var i = 0; !ok && i < taken; i++)
        {
            prefill.Sequences[i].Pages!.Release();
            prefill.Sequences[i].Pages = null;
        }

        return ok;
    }

    /// <summary>Slots for all choices, which begin in this plan; the prefill's cursor stands behind its history.</summary>
    private void Start(Prefill prefill, int hits, PlannedStep step)
    {
        prefill.HistoryLength = hits * PageLayout.PageSize;
        prefill.Token = prefill.HistoryLength;
        prefill.Layer = 0;
        prefill.Slots = new int[prefill.Sequences.Length];
        for (var i = 0; i < prefill.Sequences.Length; i++)
        {
            var sequence = prefill.Sequences[i];
            sequence.Slot = prefill.Slots[i] = _slots.Take();
            sequence.State = SequenceState.Prefilling;
            sequence.Prefill = prefill;
            sequence.RowsPlanned = 0;
            sequence.Replayed = sequence.Tokens.Count;
            step.Plan.Starts.Add(new SlotStart(sequence.Slot, sequence.Sampling, prefill.Generation.Request.Prompt));
        }

        prefill.Sequences[0].Pages!.TrySend(prefill.Slots[0], step.Plan, step.Released);
    }

    /// <summary>
    /// Longest prefix, in whole pages, that <paramref name="hashes"/> finds and this prompt can use. The last recent tokens and the last
    /// token are never covered. A prompt that stays exact needs exact pages.
    /// </summary>
    /// <param name="lossyLimit">Pages held only in latent form or as int8 codes are taken below this page index; exact pages always.</param>
    private int UsablePages(int promptLength, ReadOnlySpan<PrefixHash> hashes, int lossyLimit)
    {
        var spec = _info.Spec;
        var limit = CacheTimeline.ReusablePages(promptLength, spec);
        var pages = 0;
        while (pages < limit && pages < hashes.Length && _pools.Index.Find(hashes[pages]) is { } entry)
        {
            var dense = !_pools[PoolKind.Dense].Exists || entry[PoolKind.Dense] != 0;
            var exact = !_pools[PoolKind.Hot].Exists || entry[PoolKind.Hot] != 0;
            var lossy = entry[PoolKind.Latent] != 0 && pages < lossyLimit && !CacheTimeline.NeedsHot(pages, promptLength, spec);
            if (!dense || !(exact || lossy) || (spec.HasCodedPages && pages >= lossyLimit))
            {
                break;
            }

            pages++;
        }

        return pages;
    }
}
