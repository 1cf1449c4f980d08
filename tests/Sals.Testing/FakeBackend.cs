using Sals.Engine;
using Sals.Engine.Backends;
using Sals.Engine.Latent;
using Sals.Engine.Paging;
using Sals.Engine.Sampling;
using Sals.Engine.Scheduling;
using static Sals.Testing.PlanRule;

namespace Sals.Testing;

/// <summary>
/// A backend without a model that takes the contract literally: it keeps what each page holds (token ids), reads a row's history
/// through the page tables and samples a hash of it. A page freed too early, shared wrongly, not copied or not flushed changes the text, and a plan
/// that breaks the contract throws. The text that must come out is <see cref="Expected"/>.
/// </summary>
public sealed class FakeBackend : IStepBackend
{
    // what is sampled without a mask or a script stays below this id
    private const int Sampled = 1000;

    private readonly FakePages _pages;
    private readonly FakeLanes _lanes;
    private readonly FakeSlot[] _slots;
    private readonly int[] _history;
    private readonly int _sparseLayers;
    private readonly Queue<(long Id, List<Sample> Rows, double Prefill)> _outstanding = new();
    private long _submitted;

    /// <param name="vocabulary">At least 1,000.</param>
    public FakeBackend(
        int slots = 8,
        int maxModelLength = 1024,
        int pages = 256,
        int lookAhead = 0,
        LatentSpec? spec = null,
        int layers = 4,
        int[]? lanes = null,
        int vocabulary = 1000,
        int chunk = 32,
        bool packs = false,
        PrefillCost? cost = null)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(vocabulary, Sampled);
        spec ??= LatentSpec.Dense(layers);
        var dense = spec.DenseLayers.Length > 0 ? 8192L : 0;
        var hot = spec.IsDense ? 0 : 8192L;
        var latent = spec.IsDense ? 0 : 4096L;
        const long slab = 65536;
        _sparseLayers = spec.SparseLayers.Length;
        Info = new BackendInfo
        {
            Name = "fake",
            VocabularySize = vocabulary,
            LayerCount = layers,
            SlotCount = slots,
            MaxModelLength = maxModelLength,
            LookAhead = lookAhead,
            CacheBytes = (pages * (dense + hot + latent) + 8192 + slab - 1) / slab * slab,
            SlabBytes = slab,
            CacheTokens = (long)pages * PageLayout.PageSize,
            Spec = spec,
            PageBytes = [dense, hot, latent],
            ExactPageBytes = dense + hot,
            LaneLengths = lanes ?? [maxModelLength, Math.Min(maxModelLength, 256)],
            PrefillChunk = chunk,
            PacksPrompts = packs,
            PrefillCost = cost ?? PrefillCost.Linear(0.1, 0),
        };
        _pages = new FakePages(Info.CacheBytes);
        _lanes = new FakeLanes(Info);
        _slots = [.. Enumerable.Range(0, slots).Select(_ => new FakeSlot(_pages, Info, new SamplingOptions()))];
        _history = new int[maxModelLength];
    }

    public BackendInfo Info { get; }

    /// <summary>The step, counted from 1, whose Submit fails as a lost device does; 0 = never.</summary>
    public long FaultAtStep { get; set; }

    /// <summary>How long the prefill slices of a plan take, milliseconds of no clock: reported with the step's samples.</summary>
    public Func<StepPlan, double>? PrefillTime { get; init; }

    /// <summary>Called at each Submit on the engine thread, before the plan is carried out.</summary>
    public Action<StepPlan>? OnSubmit { get; set; }

    /// <summary>Number of an output to its token, unless a mask forbids it; null = the hash.</summary>
    public Func<int, int>? Script { get; init; }

    /// <summary>Tokens with this id end what stops on them.</summary>
    public static int StopToken => 7;

    /// <summary>Output <paramref name="generated"/>.Count of a sequence, from nothing but its own tokens, seed and stream.</summary>
    public static int Expected(ReadOnlySpan<int> prompt, ReadOnlySpan<int> generated, SamplingOptions sampling)
    {
        var hash = (sampling.Seed + sampling.Stream) * 0x9E3779B97F4A7C15UL + 1;
        foreach (var token in prompt)
        {
            hash = Mix(hash, token);
        }

        foreach (var token in generated)
        {
            hash = Mix(hash, token);
        }

        return (int)(hash % Sampled);
    }

    /// <summary>The token itself, or the first one after it that the mask allows, around the vocabulary.</summary>
    /// <exception cref="InvalidOperationException">The mask allows none.</exception>
    public static int NextAllowed(int token, uint[]? allowed)
    {
        Require(allowed is null || allowed.AsSpan().ContainsAnyExcept(0u), $"a mask of {allowed?.Length} words that allows no token");
        while (allowed is not null && (allowed[token / 32] >> (token % 32) & 1) == 0)
        {
            token = (token + 1) % (32 * allowed.Length);
        }

        return token;
    }

    public StepTicket Submit(StepPlan plan)
    {
        _submitted++;
        if (FaultAtStep > 0 && _submitted >= FaultAtStep)
        {
            throw new EngineFaultException($"injected fault at step {_submitted}");
        }

        OnSubmit?.Invoke(plan);
        if (_outstanding.Count > Info.LookAhead)
        {
            throw new InvalidOperationException($"Step {_submitted} submitted with {_outstanding.Count} in flight; the look-ahead is {Info.LookAhead}.");
        }

        var rows = new List<Sample>();
        Prepare(plan);
        Array.ForEach(_slots, slot => slot.Allowed = null);
        foreach (var mask in plan.Masks.Items)
        {
            Require(_slots[mask.Slot].Allowed is null, $"two masks for slot {mask.Slot}");
            _slots[mask.Slot].Allowed = mask.Bits;
        }

        foreach (var row in plan.Decodes.Items)
        {
            rows.Add(Decode(row));
        }

        foreach (ref readonly var slice in plan.Prefills.Items)
        {
            Prefill(slice, rows);
        }

        _outstanding.Enqueue((_submitted, rows, PrefillTime?.Invoke(plan) ?? 0));
        return new StepTicket(_submitted);
    }

    public void Collect(StepTicket ticket, StepResult result)
    {
        var (id, rows, prefill) = _outstanding.Dequeue();
        if (id != ticket.Id)
        {
            throw new InvalidOperationException($"Step {ticket.Id} collected before step {id}.");
        }

        result.Count = rows.Count;
        result.PrefillMilliseconds = prefill;
        for (var i = 0; i < rows.Count; i++)
        {
            result.Slots[i] = rows[i].Slot;
            result.Tokens[i] = rows[i].Token;
            result.LogProbabilities[i] = -rows[i].Token / 1000f;
            result.TargetLogProbabilities[i] = -1;
            CountLayers(rows[i].Length, result, i);
            for (var top = 0; top < StepResult.MaxTop; top++)
            {
                result.TopIds[i * StepResult.MaxTop + top] = (rows[i].Token + top) % Sampled;
                result.TopLogProbabilities[i * StepResult.MaxTop + top] = -rows[i].Token / 1000f - top;
            }
        }
    }

    public void Dispose()
    {
    }

    private static ulong Mix(ulong hash, int token)
    {
        hash = (hash ^ (uint)token) * 0xFF51AFD7ED558CCDUL;
        return hash ^ (hash >> 29);
    }

    private void Prepare(StepPlan plan)
    {
        foreach (var start in plan.Starts.Items)
        {
            _slots[start.Slot] = new FakeSlot(_pages, Info, start.Sampling);
        }

        foreach (var edit in plan.Edits.Items)
        {
            Require(Info.BytesOf(edit.Pool) > 0, $"edit of the {edit.Pool} pool, which does not exist");
            _slots[edit.Slot].Set(edit);
        }

        foreach (var copy in plan.Copies.Items)
        {
            _pages[copy.From].CopyTo(_pages[copy.To], 0);
        }

        foreach (var flush in plan.Flushes.Items)
        {
            Require(Array.IndexOf(_pages[flush.HotPage], -1) < 0, $"flush of hot page {flush.HotPage}, which is not full");
            _pages[flush.HotPage].CopyTo(_pages[flush.LatentPage], 0);
        }
    }

    /// <summary>What a backend whose compressed layers all select the same number of tokens reports.</summary>
    /// <param name="length">Of a decode row, its own token included; 0 = a row of a prefill.</param>
    private void CountLayers(int length, StepResult result, int row)
    {
        var spec = Info.Spec;
        var layers = CacheTimeline.LatentPages(length, spec) > 0 ? _sparseLayers : 0;
        result.SparseLayers[row] = layers;
        result.ScoredLayers[row] = CacheTimeline.CandidateCount(length, spec) > spec.LeastCount(length) ? layers : 0;
        result.SelectedTokens[row] = layers * CacheTimeline.SelectedCount(length, spec);
    }

    private Sample Decode(DecodeRow row)
    {
        var slot = _slots[row.Slot];
        Require(slot.Length > 0, $"decode row of slot {row.Slot} before its prompt");
        Require(slot.Length < Info.MaxModelLength, $"decode row of slot {row.Slot}, which has all of the model's {Info.MaxModelLength} tokens");
        var input = row.ForcedToken >= 0 ? row.ForcedToken : slot.Last;
        slot.Write(slot.Length, slot.Length + 1, input);
        slot.Length++;
        slot.Read(_history);
        var output = slot.Length - slot.PromptLength;
        slot.Last = NextAllowed(Script?.Invoke(output) ?? Expected(_history.AsSpan(0, slot.Length), [], slot.Sampling), slot.Allowed);
        return new Sample(row.Slot, slot.Last, slot.Length);
    }

    private void Prefill(in PrefillSlice slice, List<Sample> rows)
    {
        var owner = _slots[slice.Slots[0]];
        var prompt = slice.Prompt.Span;
        owner.RequireHistory(prompt[..slice.HistoryLength]);
        if (!_lanes.Advance(slice))
        {
            return;
        }

        for (var t = slice.HistoryLength; t < slice.PromptLength; t++)
        {
            owner.Write(t, slice.PromptLength, prompt[t]);
        }

        // the sampling row sees the exact prompt, not the pages: forks copy theirs and hits are flushed with the next plan
        foreach (var number in slice.Slots)
        {
            _slots[number].Length = slice.PromptLength;
            _slots[number].PromptLength = slice.PromptLength;
            _slots[number].Last = NextAllowed(Script?.Invoke(0) ?? Expected(prompt, [], _slots[number].Sampling), _slots[number].Allowed);
            rows.Add(new Sample(number, _slots[number].Last, 0));
        }
    }

    /// <param name="Length">Tokens a decode row saw; 0 for a row of a prefill.</param>
    private readonly record struct Sample(int Slot, int Token, int Length);
}
