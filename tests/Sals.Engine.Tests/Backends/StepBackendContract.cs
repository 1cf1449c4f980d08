using Sals.Engine.Backends;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Sampling;
using Sals.Engine.Scheduling;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Backends;

/// <summary>The rules that every <see cref="IStepBackend"/> keeps, one fact each, on a small random model.</summary>
public abstract class StepBackendContract
{
    protected const int Slots = 6;

    /// <summary>Longest sequence; more than two prefill chunks, so that slices have something to cut.</summary>
    protected virtual int MaxLength => 320;

    private static readonly SamplingOptions Greedy = new() { Temperature = 0, LogProbabilities = 5 };

    /// <summary>The model of every fact, V 300.</summary>
    protected virtual ModelWeights Model() => TinyModel.Build();

    /// <summary>How far log-probabilities of one sequence may differ between prefill, which is exact, and decode.</summary>
    protected virtual double Tolerance => 1e-4;

    /// <summary>A backend with <see cref="Slots"/> slots for sequences of <see cref="MaxLength"/>; ids from sampleable on are padding.</summary>
    protected abstract IStepBackend Create(ModelWeights weights, int? sampleable = null);

    /// <summary>Fills cache memory, all pages of all pools, with a NaN pattern.</summary>
    protected abstract void PoisonCache(IStepBackend backend);

    /// <summary>Fills tokens [first, 64) of every layer in a dense or hot page with NaN.</summary>
    protected abstract void PoisonTokens(IStepBackend backend, PoolKind pool, int page, int first);

    /// <summary>Whether every byte of a page is still the pattern.</summary>
    protected abstract bool IsPoison(IStepBackend backend, PoolKind pool, int page);

    [Fact]
    public void A_row_does_not_depend_on_the_other_rows()
    {
        using var backend = Create(Model());
        var plans = new Plans(backend);
        var prompts = Enumerable.Range(0, Slots).Select(i => Prompt(i, 3 + (i * 29))).ToArray();
        var alone = prompts.Select(p => Run(plans, 0, p, 20, Sampled(7))).ToArray();

        for (var slot = 0; slot < Slots; slot++)
        {
            plans.Start(slot, prompts[slot], Sampled(7)).Prefill(slot, prompts[slot]);
        }

        var together = new Row[Slots][];
        var result = plans.Step();
        for (var slot = 0; slot < Slots; slot++)
        {
            together[slot] = [new Row(result, slot)];
        }

        for (var step = 1; step < 20; step++)
        {
            // in another order every step
            for (var i = 0; i < Slots; i++)
            {
                plans.Decode((i + step) % Slots);
            }

            result = plans.Step();
            for (var i = 0; i < Slots; i++)
            {
                together[result.Slots[i]] = [.. together[result.Slots[i]], new Row(result, i)];
            }
        }

        for (var slot = 0; slot < Slots; slot++)
        {
            Assert.Equal(alone[slot], together[slot]);
        }
    }

    [Fact]
    public void A_sampled_token_is_the_next_input()
    {
        using var backend = Create(Model());
        var plans = new Plans(backend);
        var prompt = Prompt(3, 9);
        var free = Run(plans, 0, prompt, 10, Greedy);
        plans.Start(1, prompt, Greedy).Prefill(1, prompt).Step();
        for (var i = 1; i < free.Length; i++)
        {
            Assert.Equal(free[i], new Row(plans.Decode(1, forced: free[i - 1].Token).Step(), 0));
        }
    }

    [Fact]
    public void A_forced_token_replaces_the_sampled_one()
    {
        using var backend = Create(Model());
        var plans = new Plans(backend);
        var prompt = Prompt(4, 70);
        plans.Start(0, prompt[..^2], Greedy).Prefill(0, prompt[..^2]).Step();
        plans.Decode(0, forced: prompt[^2]).Step();
        var forced = new Row(plans.Decode(0, forced: prompt[^1]).Step(), 0);
        var whole = Run(plans, 1, prompt, 1, Greedy)[0];
        Close.To(whole.Top, forced.Top, Tolerance, what: "log-probabilities of the same sequence, prefilled and forced");
        if (whole.Top[0] - whole.Top[1] > 2 * Tolerance)
        {
            Assert.Equal(whole.Token, forced.Token);
        }
    }

    [Fact]
    public void Slices_of_a_prompt_do_not_change_the_result()
    {
        using var backend = Create(Model());
        var plans = new Plans(backend);
        var other = Prompt(6, 19);
        // what it decodes must fit too; beside the other prompt it fills the lane to its end
        var prompt = Prompt(5, MaxLength - other.Length);
        var whole = Run(plans, 0, prompt, 4, Greedy);
        var layers = backend.Info.LayerCount;
        var chunk = backend.Info.PrefillChunk;
        Assert.True(prompt.Length > 2 * chunk);

        // layer by layer in chunks, a step each
        plans.Start(1, prompt, Greedy);
        for (var layer = 0; layer < layers; layer++)
        {
            for (var first = 0; first < prompt.Length; first += chunk)
            {
                plans.Slice([1], prompt, layer, layer + 1, first, Math.Min(first + chunk, prompt.Length)).Step();
            }
        }

        // the last slice sampled; its row is followed by decode rows
        Assert.Equal(whole[1..], Continue(plans, 1, 3));

        // first layer in two unequal pieces, the others at once, in the other lane behind another prompt
        plans.Start(2, prompt, Greedy).Start(3, other, Greedy);
        plans.Slice([2], prompt, 0, 1, 0, 2 * chunk, lane: 1, laneOffset: other.Length);
        plans.Prefill(3, other, lane: 1);
        plans.Slice([2], prompt, 0, 1, 2 * chunk, prompt.Length, lane: 1, laneOffset: other.Length).Step();
        var result = plans.Slice([2], prompt, 1, layers, 0, prompt.Length, lane: 1, laneOffset: other.Length).Step();
        Assert.Equal(whole[0], new Row(result, 0));
        Assert.Equal(whole[1..], Continue(plans, 2, 3));
        Assert.Equal(Run(plans, 4, other, 3, Greedy)[1..], Continue(plans, 3, 2));
    }

    [Fact]
    public void Two_prompts_interleaved_in_their_lanes_keep_apart()
    {
        using var backend = Create(Model());
        var plans = new Plans(backend);
        var a = Prompt(7, 130);
        var b = Prompt(8, 100);
        var wholeA = Run(plans, 0, a, 1, Greedy)[0];
        var wholeB = Run(plans, 1, b, 1, Greedy)[0];
        plans.Start(2, a, Greedy).Start(3, b, Greedy);
        StepResult? result = null;
        for (var layer = 0; layer < backend.Info.LayerCount; layer++)
        {
            plans.Slice([2], a, layer, layer + 1, 0, a.Length, lane: 0).Slice([3], b, layer, layer + 1, 0, b.Length, lane: 1);
            result = plans.Step();
        }

        Assert.Equal([2, 3], result!.Slots[..result.Count]);
        Assert.Equal(wholeA, new Row(result, 0));
        Assert.Equal(wholeB, new Row(result, 1));
    }

    [Fact]
    public void Decode_rows_beside_prefill_slices_are_unchanged()
    {
        using var backend = Create(Model());
        var plans = new Plans(backend);
        var prompt = Prompt(9, 12);
        var large = Prompt(10, 200);
        var alone = Run(plans, 0, prompt, 4, Greedy);
        plans.Start(1, prompt, Greedy).Prefill(1, prompt).Step();
        plans.Start(2, large);
        for (var layer = 0; layer < 3; layer++)
        {
            var result = plans.Decode(1).Slice([2], large, layer, layer + 1, 0, large.Length).Step();
            Assert.Equal(alone[layer + 1], new Row(result, 0));
            Assert.Equal(layer == 2 ? 2 : 1, result.Count);
        }
    }

    [Fact]
    public void Tokens_taken_from_shared_pages_give_the_same_result()
    {
        using var backend = Create(Model());
        var plans = new Plans(backend);
        var prompt = Prompt(11, 200);
        var whole = Run(plans, 0, prompt, 5, Greedy);
        var shared = Hit(1);
        if (CacheTimeline.LatentPages(prompt.Length, backend.Info.Spec) == 0 && !backend.Info.Spec.HasCodedPages)
        {
            Assert.Equal(whole, shared);
        }
        else
        {
            // a compressed or coded prefix is not the exact one, but it is one prefix
            Assert.NotEqual(whole[0].Top, shared[0].Top);
            Assert.Equal(shared, Hit(2));
        }

        Row[] Hit(int slot)
        {
            plans.Start(slot, prompt, Greedy);
            foreach (var pool in PoolKinds.All)
            {
                for (var index = 0; index < 2; index++)
                {
                    Share(plans, pool, 0, slot, index);
                }
            }

            return [new Row(plans.Prefill(slot, prompt, history: 2 * PageLayout.PageSize).Step(), 0), .. Continue(plans, slot, 4)];
        }
    }

    [Fact]
    public void Replay_by_forced_tokens_at_every_position_goes_on_alike()
    {
        using var backend = Create(Model());
        var plans = new Plans(backend);
        var prompt = Prompt(12, 60);
        var sampling = Sampled(21) with { RepetitionPenalty = 1.2f, PresencePenalty = 0.3f, FrequencyPenalty = 0.2f };
        var whole = Run(plans, 0, prompt, 12, sampling);
        for (var kept = 1; kept < whole.Length; kept++)
        {
            plans.Start(1, prompt, sampling).Prefill(1, prompt, samples: false).Step();
            StepResult? result = null;
            for (var i = 0; i < kept; i++)
            {
                result = plans.Decode(1, forced: whole[i].Token).Step();
            }

            Assert.Equal(whole[kept], new Row(result!, 0));
        }
    }

    [Fact]
    public void Choices_share_a_prefill_and_choice_zero_equals_a_single_one()
    {
        using var backend = Create(Model());
        var plans = new Plans(backend);
        var prompt = Prompt(13, 90);
        var single = Run(plans, 0, prompt, 8, Sampled(5));
        for (uint choice = 0; choice < 3; choice++)
        {
            plans.Start(1 + (int)choice, prompt, Sampled(5) with { Stream = choice });
        }

        var result = plans.Slice([1, 2, 3], prompt, 0, backend.Info.LayerCount, 0, prompt.Length).Step();
        Assert.Equal([1, 2, 3], result.Slots[..result.Count]);
        Assert.Equal(single[0], new Row(result, 0));
        Assert.Equal(new Row(result, 0).Top, new Row(result, 1).Top);

        // each fork shares the whole page and copies the partly filled one
        for (var slot = 2; slot <= 3; slot++)
        {
            foreach (var pool in PoolKinds.All)
            {
                Share(plans, pool, 1, slot, 0);
                if (plans.PageOf(pool, 1, 1) != 0)
                {
                    var page = plans.NewPage(pool);
                    plans.Page(pool, slot, 1, page).Copy(pool, plans.PageOf(pool, 1, 1), page);
                }
            }
        }

        var rows = new List<Row>[] { [], [], [] };
        for (var step = 1; step < 8; step++)
        {
            result = plans.Decode(1).Decode(2).Decode(3).Step();
            for (var i = 0; i < 3; i++)
            {
                rows[i].Add(new Row(result, i));
            }
        }

        Assert.Equal(single[1..], rows[0]);
        Assert.NotEqual(rows[0].Select(r => r.Token), rows[1].Select(r => r.Token));
        Assert.NotEqual(rows[1].Select(r => r.Token), rows[2].Select(r => r.Token));
    }

    [Fact]
    public void Unused_pages_and_positions_are_not_read_and_other_pages_not_written()
    {
        using var clean = Create(Model());
        using var backend = Create(Model());
        PoisonCache(backend);
        var prompt = Prompt(14, 67);
        var expected = Run(new Plans(clean), 0, prompt, 70, Greedy);
        var plans = new Plans(backend);
        var pools = PoolKinds.All.Where(pool => backend.Info.BytesOf(pool) > 0).ToArray();
        var strangers = pools.Select(pool => (pool, plans.NewPage(pool))).ToArray();
        var actual = Run(plans, 0, prompt, 70, Greedy);
        Assert.Equal(expected, actual);
        foreach (var (pool, page) in strangers)
        {
            Assert.True(IsPoison(backend, pool, page), $"a {pool} page that no plan named was written");
            Assert.False(IsPoison(backend, pool, plans.PageOf(pool, 0, 0)));
        }

        // what was there before a rewind must not count either
        plans.Start(1, prompt, Greedy).Prefill(1, prompt).Step();
        foreach (var pool in pools.Where(pool => pool != PoolKind.Latent))
        {
            PoisonTokens(backend, pool, plans.PageOf(pool, 1, 1), prompt.Length - PageLayout.PageSize);
        }

        Assert.Equal(expected[1..10], Continue(plans, 1, 9));
    }

    [Fact]
    public void A_restarted_slot_remembers_nothing()
    {
        using var backend = Create(Model());
        var plans = new Plans(backend);
        var prompt = Prompt(15, 20);
        var sampling = Sampled(3) with { PresencePenalty = 2, RepetitionPenalty = 1.5f };
        var first = Run(plans, 0, prompt, 12, sampling);
        Run(plans, 0, Prompt(16, 100), 30, sampling);
        Assert.Equal(first, Run(plans, 0, prompt, 12, sampling));
    }

    [Fact]
    public void A_mask_restricts_only_its_slot()
    {
        using var backend = Create(Model());
        var plans = new Plans(backend);
        var prompt = Prompt(17, 30);
        var free = Run(plans, 0, prompt, 2, Greedy);
        var bits = new uint[(backend.Info.VocabularySize + 31) / 32];
        bits[3] = 1u << 9;
        plans.Start(1, prompt, Greedy).Start(2, prompt, Greedy).Prefill(1, prompt).Prefill(2, prompt).Step();
        var result = plans.Decode(1).Decode(2).Mask(2, bits).Step();
        Assert.Equal(free[1], new Row(result, 0));
        Assert.Equal((3 * 32) + 9, result.Tokens[1]);

        // log-probabilities are of the raw logits
        Assert.Equal(free[1].Top, new Row(result, 1).Top);
    }

    [Fact]
    public void Target_log_probabilities_are_those_of_the_raw_logits()
    {
        using var backend = Create(Model());
        var plans = new Plans(backend);
        var prompt = Prompt(18, 40);
        var sampling = Greedy with { LogProbabilities = StepResult.MaxTop };
        var ids = Run(plans, 0, prompt, 1, sampling)[0].TopIds;
        double total = 0;
        for (var token = 0; token < backend.Info.VocabularySize; token++)
        {
            var result = plans.Start(1, prompt, sampling).Prefill(1, prompt, target: token).Step();
            total += Math.Exp(result.TargetLogProbabilities[0]);
            var rank = Array.IndexOf(ids, token);
            if (rank >= 0)
            {
                Assert.Equal(result.TopLogProbabilities[rank], result.TargetLogProbabilities[0], 1e-5f);
            }
        }

        Assert.Equal(1, total, 1e-4);
    }

    [Fact]
    public void Padding_rows_of_the_vocabulary_are_never_sampled()
    {
        const int sampleable = 7;
        using var backend = Create(Model(), sampleable);
        var plans = new Plans(backend);
        var tokens = Run(plans, 0, Prompt(19, 20), 200, Sampled(1) with { Temperature = 5 });
        Assert.All(tokens, row => Assert.InRange(row.Token, 0, sampleable - 1));
        Assert.All(tokens.SelectMany(r => r.TopIds), id => Assert.InRange(id, 0, sampleable - 1));
    }

    [Fact]
    public void Two_steps_may_be_outstanding_and_are_collected_in_order()
    {
        using var backend = Create(Model());
        var prompt = Prompt(20, 10);
        var expected = Run(new Plans(backend), 0, prompt, 2, Greedy);
        var plans = new Plans(backend);
        plans.Start(1, prompt, Greedy).Prefill(1, prompt);
        var first = backend.Submit(plans.Plan);
        plans = new Plans(backend);
        plans.Plan.Decodes.Add(new DecodeRow(1));
        var second = backend.Submit(plans.Plan);
        var result = new StepResult(Slots);
        Assert.Throws<InvalidOperationException>(() => backend.Collect(second, result));
        backend.Collect(first, result);
        Assert.Equal(expected[0], new Row(result, 0));
        backend.Collect(second, result);
        Assert.Equal(expected[1], new Row(result, 0));
    }

    [Fact]
    public void After_a_fault_every_call_faults()
    {
        using var backend = Create(Model());
        var plan = new StepPlan(Slots, MaxLength);
        // a row without a page: the planner must never do that
        plan.Starts.Add(new SlotStart(0, Greedy, Prompt(21, 5)));
        plan.Decodes.Add(new DecodeRow(0, ForcedToken: 1));
        Assert.Throws<EngineFaultException>(() => backend.Submit(plan));
        plan.Clear();
        Assert.Throws<EngineFaultException>(() => backend.Submit(plan));
        Assert.Throws<EngineFaultException>(() => backend.Collect(new StepTicket(1), new StepResult(Slots)));
    }

    [Fact]
    public void Page_bytes_are_those_of_the_layout()
    {
        var weights = Model();
        using var backend = Create(weights);
        var info = backend.Info;
        foreach (var pool in PoolKinds.All)
        {
            Assert.Equal(0, info.BytesOf(pool) % PageLayout.Unit);
            Assert.True(info.BytesOf(pool) <= info.SlabBytes);
        }

        Assert.Equal(0, info.CacheBytes % info.SlabBytes);
        Assert.Equal(MaxLength, info.LaneLengths[0]);
        Assert.True(info.PrefillCost.Milliseconds(0, 1) > 0 && info.PrefillCost.PerPair > 0);
    }

    [Fact]
    public void An_empty_step_samples_nothing()
    {
        using var backend = Create(Model());
        Assert.Equal(0, new Plans(backend).Step().Count);
    }

    protected static int[] Prompt(int seed, int length)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, length).Select(_ => random.Next(300))];
    }

    private static void Share(Plans plans, PoolKind pool, int from, int to, int index)
    {
        if (plans.PageOf(pool, from, index) != 0)
        {
            plans.Page(pool, to, index, plans.PageOf(pool, from, index));
        }
    }

    private static SamplingOptions Sampled(ulong seed) => new() { Temperature = 1.5f, TopP = 0.95f, Seed = seed, LogProbabilities = 5 };

    private static Row[] Run(Plans plans, int slot, int[] prompt, int count, SamplingOptions sampling)
    {
        var first = new Row(plans.Start(slot, prompt, sampling).Prefill(slot, prompt).Step(), 0);
        return [first, .. Continue(plans, slot, count - 1)];
    }

    private static Row[] Continue(Plans plans, int slot, int count) => [.. Enumerable.Range(0, count).Select(_ => new Row(plans.Decode(slot).Step(), 0))];

    /// <summary>What one row sampled, compared bit for bit: log-probabilities stand for the logits.</summary>
    private sealed class Row : IEquatable<Row>
    {
        public Row(StepResult result, int row)
        {
            Token = result.Tokens[row];
            LogProbability = result.LogProbabilities[row];
            TopIds = result.TopIds.AsSpan(row * StepResult.MaxTop, 5).ToArray();
            Top = result.TopLogProbabilities.AsSpan(row * StepResult.MaxTop, 5).ToArray();
            Assert.All(Top, x => Assert.True(float.IsFinite(x)));
        }

        public int Token { get; }

        public float LogProbability { get; }

        public int[] TopIds { get; }

        public float[] Top { get; }

        public bool Equals(Row? other) =>
            other is not null && Token == other.Token && LogProbability == other.LogProbability && TopIds.SequenceEqual(other.TopIds) && Top.SequenceEqual(other.Top);

        public override bool Equals(object? obj) => Equals(obj as Row);

        public override int GetHashCode() => HashCode.Combine(Token, LogProbability);

        public override string ToString() => $"{Token} ({LogProbability:R}) of {string.Join(' ', TopIds)}";
    }
}
