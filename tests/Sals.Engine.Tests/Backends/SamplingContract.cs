using Sals.Engine.Scheduling;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Backends;

/// <summary>Which token a row samples: from its own sequence, settings and seed, whatever was forced, masked or run in the slot before.</summary>
public abstract class SamplingContract : BackendUnderTest
{
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
            Assert.Equal(free[i], new RowSample(plans.Decode(1, forced: free[i - 1].Token).Step(), 0));
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
        var forced = new RowSample(plans.Decode(0, forced: prompt[^1]).Step(), 0);
        var whole = Run(plans, 1, prompt, 1, Greedy)[0];
        Close.To(whole.Top, forced.Top, Tolerance, what: "log-probabilities of the same sequence, prefilled and forced");
        if (whole.Top[0] - whole.Top[1] > 2 * Tolerance)
        {
            Assert.Equal(whole.Token, forced.Token);
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

            Assert.Equal(whole[kept], new RowSample(result!, 0));
        }
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
        Assert.Equal(free[1], new RowSample(result, 0));
        Assert.Equal((3 * 32) + 9, result.Tokens[1]);

        // log-probabilities are of the raw logits
        Assert.Equal(free[1].Top, new RowSample(result, 1).Top);
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
}
