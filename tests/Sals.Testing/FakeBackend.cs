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
    private const int P = PageLayout.PageSize;

    private readonly FakePages _pages;
    private readonly Slot[] _slots;
    private readonly int _sparseLayers;
    private readonly Queue<(long Id, List<Sample> Rows, double Prefill)> _outstanding = new();
    private readonly Dictionary<(int Lane, int Offset), Cursor> _lanes = [];
    private long _submitted;

    /// <param name="vocabulary">At least 1,000; what is sampled freely stays below 1,000.</param>
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
        spec ??= LatentSpec.Dense(layers);
        var dense = spec.DenseLayers.Length > 0 ? 8192L : 0;
        var hot = spec.IsDense ? 0 : 8192L;
        var latent = spec.IsDense ? 0 : 4096L;
        const long slab = 65536;
        _sparseLayers = spec.SparseLayers.Length;
        _slots = [.. Enumerable.Range(0, slots).Select(_ => new Slot())];
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
            CacheTokens = (long)pages * P,
            Spec = spec,
            PageBytes = [dense, hot, latent],
            ExactPageBytes = dense + hot,
            LaneLengths = lanes ?? [maxModelLength, Math.Min(maxModelLength, 256)],
            PrefillChunk = chunk,
            PacksPrompts = packs,
            PrefillCost = cost ?? PrefillCost.Linear(0.1, 0),
        };
        _pages = new FakePages(Info.CacheBytes);
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
        var hash = Begin(sampling);
        foreach (var token in prompt)
        {
            hash = Mix(hash, token);
        }

        foreach (var token in generated)
        {
            hash = Mix(hash, token);
        }

        return (int)(hash % 1000);
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
            throw new InvalidOperationException("More steps in flight than the look-ahead allows.");
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
                result.TopIds[i * StepResult.MaxTop + top] = (rows[i].Token + top) % 1000;
                result.TopLogProbabilities[i * StepResult.MaxTop + top] = -rows[i].Token / 1000f - top;
            }
        }
    }

    public void Dispose()
    {
    }

    private static ulong Begin(SamplingOptions sampling) => (sampling.Seed + sampling.Stream) * 0x9E3779B97F4A7C15UL + 1;

    private static ulong Mix(ulong hash, int token)
    {
        hash = (hash ^ (uint)token) * 0xFF51AFD7ED558CCDUL;
        return hash ^ (hash >> 29);
    }

    private void Prepare(StepPlan plan)
    {
        foreach (var start in plan.Starts.Items)
        {
            _slots[start.Slot] = new Slot { Sampling = start.Sampling };
        }

        foreach (var edit in plan.Edits.Items)
        {
            Require(Info.BytesOf(edit.Pool) > 0, $"edit of the {edit.Pool} pool, which does not exist");
            _slots[edit.Slot].Tables[(int)edit.Pool][edit.Index] = edit.Page;
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
        Require(slot.Length < Info.MaxModelLength, $"slot {row.Slot} beyond the model's length");
        var input = row.ForcedToken >= 0 ? row.ForcedToken : slot.Last;
        Write(slot, slot.Length, slot.Length + 1, input, slot.Length % P == 0);
        slot.Length++;
        slot.Last = NextToken(slot);
        return new Sample(row.Slot, slot.Last, slot.Length);
    }

    private void Prefill(in PrefillSlice slice, List<Sample> rows)
    {
        var key = (slice.Lane, slice.LaneOffset);
        Require(slice.LaneOffset + slice.PromptLength <= Info.LaneLengths[slice.Lane], $"a prompt longer than its lane");
        if (!_lanes.TryGetValue(key, out var cursor) || cursor.Owner != slice.Slots[0] || (slice.FirstLayer == 0 && slice.FirstToken == slice.HistoryLength))
        {
            _lanes[key] = cursor = new Cursor { Owner = slice.Slots[0], Token = slice.HistoryLength };
        }

        Require(slice.FirstLayer == cursor.Layer && slice.FirstToken == cursor.Token, $"slice ({slice.FirstLayer}, {slice.FirstToken}) out of order");
        Require(slice.EndLayer == slice.FirstLayer + 1 || (slice.FirstToken == slice.HistoryLength && slice.EndToken == slice.PromptLength), $"a slice of several layers must cover the prompt");
        Require(slice.EndToken == slice.PromptLength || (slice.EndToken - slice.FirstToken) % Info.PrefillChunk == 0, $"a slice that is not a multiple of the chunk");
        var owner = _slots[slice.Slots[0]];
        var prompt = slice.Prompt.Span;
        for (var t = 0; t < slice.HistoryLength; t++)
        {
            foreach (var kind in PoolKinds.All)
            {
                var page = owner.Tables[(int)kind].GetValueOrDefault(t / P);
                var written = kind == PoolKind.Latent ? page != 0 && owner.Tables[(int)PoolKind.Hot].GetValueOrDefault(t / P) == 0 : page != 0;
                Require(!written || _pages[page][t % P] == prompt[t], $"history token {t} is not what {kind} page {page} holds");
            }
        }

        cursor.Token = slice.EndToken == slice.PromptLength ? slice.HistoryLength : slice.EndToken;
        cursor.Layer = slice.EndToken == slice.PromptLength ? slice.EndLayer : slice.FirstLayer;
        Require(slice.Samples == (cursor.Layer == Info.LayerCount), $"a slice that samples without being the last");
        if (!slice.Samples)
        {
            return;
        }

        _lanes.Remove(key);
        for (var t = slice.HistoryLength; t < slice.PromptLength; t++)
        {
            Write(owner, t, slice.PromptLength, prompt[t], t % P == 0);
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

    private int NextToken(Slot slot)
    {
        var hash = HashOf(slot, slot.Length, Begin(slot.Sampling));
        return NextAllowed(Script?.Invoke(slot.Length - slot.PromptLength) ?? (int)(hash % 1000), slot.Allowed);
    }

    /// <summary>The token itself, or the first one after it that the mask allows, around the vocabulary.</summary>
    public static int NextAllowed(int token, uint[]? allowed)
    {
        while (allowed is not null && (allowed[token / 32] >> (token % 32) & 1) == 0)
        {
            token = (token + 1) % (32 * allowed.Length);
        }

        return token;
    }

    private ulong HashOf(Slot slot, int length, ulong hash)
    {
        var spec = Info.Spec;
        var latent = CacheTimeline.LatentPages(length, spec);
        for (var t = 0; t < length; t++)
        {
            var i = t / P;
            var token = -1;
            if (Info.BytesOf(PoolKind.Dense) > 0)
            {
                token = Read(slot, PoolKind.Dense, t);
            }

            if (Info.BytesOf(PoolKind.Hot) > 0)
            {
                var hot = i >= latent || (i == 0 && t < spec.SinkTokens);
                var sparse = Read(slot, hot ? PoolKind.Hot : PoolKind.Latent, t);
                Require(token < 0 || token == sparse, $"token {t} differs between the dense and the {(hot ? "hot" : "latent")} page");
                token = sparse;
            }

            hash = Mix(hash, token);
        }

        return hash;
    }

    private int Read(Slot slot, PoolKind kind, int position)
    {
        var page = slot.Tables[(int)kind].GetValueOrDefault(position / P);
        Require(page != 0, $"position {position} has no {kind} page");
        var token = _pages[page][position % P];
        Require(token >= 0, $"position {position} of {kind} page {page} was never written");
        return token;
    }

    private void Write(Slot slot, int position, int length, int token, bool fresh)
    {
        var spec = Info.Spec;
        var i = position / P;
        foreach (var kind in PoolKinds.All)
        {
            var wanted = kind switch
            {
                PoolKind.Dense => Info.BytesOf(kind) > 0,
                PoolKind.Hot => Info.BytesOf(kind) > 0 && CacheTimeline.NeedsHot(i, length, spec),
                _ => Info.BytesOf(kind) > 0 && CacheTimeline.NeedsLatent(i, length, spec),
            };
            if (!wanted)
            {
                continue;
            }

            var page = slot.Tables[(int)kind].GetValueOrDefault(i);
            Require(page != 0, $"position {position} has no {kind} page to write");
            if (fresh)
            {
                // whatever an earlier owner left must never be read again
                Array.Fill(_pages[page], -1);
            }

            _pages[page][position % P] = token;
        }
    }

    /// <param name="Length">Tokens a decode row saw; 0 for a row of a prefill.</param>
    private readonly record struct Sample(int Slot, int Token, int Length);

    private sealed class Slot
    {
        public SamplingOptions Sampling { get; init; } = new();
        public Dictionary<int, int>[] Tables { get; } = [[], [], []];
        public int Length { get; set; }
        public int PromptLength { get; set; }
        public int Last { get; set; }
        public uint[]? Allowed { get; set; }
    }

    private sealed class Cursor
    {
        public int Owner { get; init; }
        public int Layer { get; set; }
        public int Token { get; set; }
    }
}
