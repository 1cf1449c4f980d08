using Sals.Engine.Backends.Cpu;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Sampling;
using Sals.Engine.Scheduling;
using Xunit;

namespace Sals.Engine.Tests.Sampling;

public class SampleTokenTests
{
    private const int V = 97;

    [Fact]
    public void Greedy_takes_the_smaller_id_of_equal_logits()
    {
        var logits = new float[V];
        logits[13] = logits[40] = 3;
        Assert.Equal(13, Sample(logits, new SamplingOptions { Temperature = 0 }));
    }

    [Fact]
    public void Top_k_keeps_the_smaller_ids_of_equal_logits()
    {
        var logits = new float[V];
        logits[5] = 1;
        var seen = Support(logits, new SamplingOptions { TopK = 3 });
        Assert.Equal([0, 1, 5], seen);
    }

    [Fact]
    public void Top_p_keeps_the_smaller_ids_of_equal_logits()
    {
        // ten equal tokens, the others impossible: 0.35 of the mass needs four of them
        var logits = Enumerable.Repeat(-1000f, V).ToArray();
        for (var i = 0; i < 10; i++)
        {
            logits[3 * i] = 2;
        }

        Assert.Equal([0, 3, 6, 9], Support(logits, new SamplingOptions { TopP = 0.35f }));
    }

    [Fact]
    public void Top_p_always_keeps_the_most_probable_token()
    {
        var logits = Logits(1);
        Assert.Equal([Array.IndexOf(logits, logits.Max())], Support(logits, new SamplingOptions { TopP = 1e-6f }));
    }

    [Fact]
    public void Min_p_is_relative_to_the_most_probable_token()
    {
        var logits = Enumerable.Repeat(-1000f, V).ToArray();
        (logits[7], logits[8], logits[9]) = (0, MathF.Log(0.51f), MathF.Log(0.49f));
        Assert.Equal([7, 8], Support(logits, new SamplingOptions { MinP = 0.5f }));
    }

    [Fact]
    public void Filters_apply_in_the_documented_order()
    {
        // top_k first leaves masses 0.5, 0.3 renormalised to 0.625, 0.375: top_p 0.6 then keeps one; the other order would keep two
        var logits = Enumerable.Repeat(-1000f, V).ToArray();
        (logits[1], logits[2], logits[3]) = (MathF.Log(0.5f), MathF.Log(0.3f), MathF.Log(0.2f));
        Assert.Equal([1], Support(logits, new SamplingOptions { TopK = 2, TopP = 0.6f }));
        Assert.Equal([1, 2], Support(logits, new SamplingOptions { TopP = 0.6f }));
    }

    [Fact]
    public void Held_back_ids_wait_for_min_tokens()
    {
        var logits = new float[V];
        logits[2] = 10;
        logits[4] = 5;
        var options = new SamplingOptions { Temperature = 0, HeldBackIds = [2], MinTokens = 3 };
        Assert.Equal(4, Sample(logits, options, prompt: [1, 1], output: [0, 0]));
        Assert.Equal(2, Sample(logits, options, prompt: [1, 1], output: [0, 0, 0]));
    }

    [Fact]
    public void Logit_bias_adds_and_ignores_padding_ids()
    {
        var logits = new float[V];
        logits[4] = 5;
        var options = new SamplingOptions { Temperature = 0, LogitBias = [new(9, 6), new(4, -0.5f), new(V + 3, 100)] };
        Assert.Equal(9, Sample(logits, options));
    }

    [Fact]
    public void Penalties_count_inputs_and_not_unused_samples()
    {
        var logits = new float[V];
        (logits[10], logits[11], logits[12]) = (3, 2.8f, 2.7f);
        var frequency = new SamplingOptions { Temperature = 0, FrequencyPenalty = 0.15f };
        Assert.Equal(10, Sample(logits, frequency, prompt: [10, 10, 10]));
        Assert.Equal(10, Sample(logits, frequency, prompt: [1], output: [10]));
        Assert.Equal(11, Sample(logits, frequency, prompt: [1], output: [10, 10]));
        Assert.Equal(12, Sample(logits, frequency, prompt: [1], output: [10, 10, 10, 11]));

        var presence = new SamplingOptions { Temperature = 0, PresencePenalty = 0.15f };
        Assert.Equal(10, Sample(logits, presence, prompt: [1], output: [10, 10, 10]));

        var repetition = new SamplingOptions { Temperature = 0, RepetitionPenalty = 1.09f };
        Assert.Equal(11, Sample(logits, repetition, prompt: [10]));
        Assert.Equal(11, Sample(logits, repetition, prompt: [1], output: [10]));
    }

    [Fact]
    public void Repetition_penalty_lowers_negative_logits_too()
    {
        var logits = Enumerable.Repeat(-9f, V).ToArray();
        (logits[10], logits[11]) = (-1, -1.1f);
        Assert.Equal(11, Sample(logits, new SamplingOptions { Temperature = 0, RepetitionPenalty = 1.2f }, prompt: [10]));
    }

    [Fact]
    public void Nothing_allowed_still_gives_an_id() =>
        Assert.InRange(Run(new float[V], Slot(new SamplingOptions(), [1], []), new uint[(V + 31) / 32]), 0, V - 1);

    [Theory]
    [InlineData(1f, 0, 1f, 0f)]
    [InlineData(0.7f, 12, 1f, 0f)]
    [InlineData(1.3f, 0, 0.8f, 0f)]
    [InlineData(1f, 0, 1f, 0.1f)]
    [InlineData(0.9f, 20, 0.9f, 0.02f)]
    public void Frequencies_follow_the_probabilities(float temperature, int topK, float topP, float minP)
    {
        const int draws = 60_000;
        var logits = Logits(3);
        var options = new SamplingOptions { Temperature = temperature, TopK = topK, TopP = topP, MinP = minP, Seed = 42 };
        var expected = Probabilities(logits, options, [], []);
        var counts = new int[V];
        for (var i = 0; i < draws; i++)
        {
            counts[Sample(logits, options with { Seed = (ulong)i })]++;
        }

        // chi-square over the tokens with at least 5 expected draws; the rest pooled
        double chi = 0;
        double pooledExpected = 0;
        double pooledSeen = 0;
        var cells = 0;
        for (var i = 0; i < V; i++)
        {
            Assert.True(expected[i] > 0 || counts[i] == 0, $"token {i} was cut off and drawn {counts[i]} times");
            if (expected[i] * draws >= 5)
            {
                chi += Math.Pow(counts[i] - (expected[i] * draws), 2) / (expected[i] * draws);
                cells++;
            }
            else
            {
                pooledExpected += expected[i] * draws;
                pooledSeen += counts[i];
            }
        }

        if (pooledExpected > 0)
        {
            chi += Math.Pow(pooledSeen - pooledExpected, 2) / pooledExpected;
            cells++;
        }

        // mean k, variance 2k: five deviations; the draws are fixed by their seeds, so this never flickers
        var freedom = cells - 1;
        Assert.True(chi < freedom + (5 * Math.Sqrt(2 * freedom)) + 1, $"chi-square {chi:F1} with {freedom} degrees of freedom");
    }

    [Fact]
    public void Same_choice_as_a_plain_implementation_with_sorting()
    {
        var random = new Random(11);
        for (var round = 0; round < 3000; round++)
        {
            var logits = Logits(random.Next());
            for (var i = 0; i < V; i++)
            {
                // coarse values, so that ties are common
                logits[i] = MathF.Round(logits[i] * 4) / 4;
            }

            int[] prompt = [.. Enumerable.Range(0, random.Next(20)).Select(_ => random.Next(V))];
            int[] output = [.. Enumerable.Range(0, random.Next(20)).Select(_ => random.Next(V))];
            var options = new SamplingOptions
            {
                Temperature = 0.2f + (2 * random.NextSingle()),
                TopK = random.Next(3) == 0 ? 0 : random.Next(1, V + 5),
                TopP = random.Next(2) == 0 ? 1 : random.NextSingle(),
                MinP = random.Next(2) == 0 ? 0 : random.NextSingle() / 4,
                PresencePenalty = random.Next(2) == 0 ? 0 : random.NextSingle(),
                FrequencyPenalty = random.Next(2) == 0 ? 0 : random.NextSingle(),
                RepetitionPenalty = random.Next(2) == 0 ? 1 : 0.8f + random.NextSingle(),
                LogitBias = random.Next(2) == 0 ? [] : [new(random.Next(V), random.NextSingle() * 4)],
                Seed = (ulong)random.NextInt64(),
                Stream = (uint)random.Next(4),
            };
            var expected = Probabilities(logits, options, prompt, output);
            var bits = Philox.Draw(options.Seed, options.Stream, prompt.Length + output.Length);
            var point = bits / Math.Pow(2, 64);
            var token = Sample(logits, options, prompt, output);
            var below = expected.Take(token).Sum();
            Assert.True(
                expected[token] > 0 && point >= below - 1e-5 && point <= below + expected[token] + 1e-5,
                $"round {round}: token {token} covers {below}..{below + expected[token]}, drawn {point}; {options}");
        }
    }

    [Fact]
    public void Log_probabilities_sum_to_one_and_are_ordered_with_ties_by_id()
    {
        var logits = Logits(5);
        logits[50] = logits[20] = logits.Max() + 1;
        var work = new float[V];
        var lse = LogProbabilities.LogSumExp(logits, work);
        Assert.Equal(Math.Log(logits.Sum(x => Math.Exp(x))), lse, 1e-5);
        var ids = new int[20];
        var values = new float[20];
        LogProbabilities.Top(logits, lse, ids, values);
        Assert.Equal(Enumerable.Range(0, V).OrderByDescending(i => logits[i]).ThenBy(i => i).Take(20), ids);
        Assert.Equal(ids.Select(i => logits[i] - lse), values);
    }

    [Fact]
    public void More_alternatives_than_ids_are_marked()
    {
        var ids = new int[4];
        LogProbabilities.Top([1f, 2f], 3, ids, new float[4]);
        Assert.Equal([1, 0, -1, -1], ids);
    }

    /// <summary>The documented order of operations in doubles, with a sort.</summary>
    private static double[] Probabilities(float[] logits, SamplingOptions s, int[] prompt, int[] output)
    {
        double[] x = [.. logits.Select(l => (double)l)];
        foreach (var (id, bias) in s.LogitBias)
        {
            x[id] += bias;
        }

        for (var i = 0; i < V; i++)
        {
            var count = output.Count(t => t == i);
            if (count > 0 || prompt.Contains(i))
            {
                x[i] = x[i] > 0 ? x[i] / s.RepetitionPenalty : x[i] * s.RepetitionPenalty;
            }

            x[i] -= (count * s.FrequencyPenalty) + (count > 0 ? s.PresencePenalty : 0);
        }

        double[] p = [.. x.Select(v => Math.Exp((v - x.Max()) / s.Temperature))];
        int[] order = [.. Enumerable.Range(0, V).OrderByDescending(i => x[i]).ThenBy(i => i)];
        order = [.. order.Where(i => p[i] >= s.MinP)];
        order = s.TopK > 0 ? [.. order.Take(s.TopK)] : order;
        var total = order.Sum(i => p[i]);
        var kept = new double[V];
        double mass = 0;
        foreach (var i in order)
        {
            if (s.TopP < 1 && mass >= (s.TopP * total) - 1e-12)
            {
                break;
            }

            kept[i] = p[i];
            mass += p[i];
        }

        return [.. kept.Select(k => k / mass)];
    }

    private static float[] Logits(int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, V).Select(_ => (random.NextSingle() * 8) - 4)];
    }

    private static int[] Support(float[] logits, SamplingOptions options) =>
        [.. Enumerable.Range(0, 2000).Select(i => Sample(logits, options with { Seed = (ulong)i })).Distinct().Order()];

    private static int Sample(float[] logits, SamplingOptions options, int[]? prompt = null, int[]? output = null) =>
        Run([.. logits], Slot(options, prompt ?? [], output ?? []), []);

    private static int Run(float[] logits, CpuSlot slot, uint[] mask) => SampleToken.Run(logits, slot, mask, new SampleWorkspace(V));

    private static CpuSlot Slot(SamplingOptions options, int[] prompt, int[] output)
    {
        var slot = new CpuSlot(V);
        slot.Start(new SlotStart(0, options, prompt));
        slot.Length = prompt.Length + output.Length;
        foreach (var token in output)
        {
            slot.CountOutput(token);
        }

        return slot;
    }
}
