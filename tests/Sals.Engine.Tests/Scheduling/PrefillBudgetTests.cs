using Sals.Engine.Backends;
using Sals.Engine.Scheduling;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Scheduling;

/// <summary>How much prefill a step carries, on a backend that takes the times of an 8B model on one H100: prompts of 128K tokens beside decoding streams.</summary>
public sealed class PrefillBudgetTests
{
    private const double Budget = 20;
    private const int Layers = 32;

    // a layer of 1,024 tokens 0.75 ms; 4 HQ DH operations a pair at 431 TFLOP/s
    private static readonly PrefillCost Cost = new(1024, [0.18, 0.27, 0.36, 0.47, 0.54, 0.62, 0.69, 0.75], 3.8e-8, 0.5);

    [Theory]
    [InlineData(1.0)]
    [InlineData(1.6)]
    [InlineData(0.7)]
    public void A_long_history_keeps_the_budget_on_a_device_of_another_pace_than_at_warm_up(double pace)
    {
        var driver = Drive(pace, out var backend);
        var streams = Streams(driver, 8);
        var times = Watch(driver, pace);
        var document = driver.Add(Request(Prompt(131_000, 9), 2));
        driver.Finish(document);

        // the first steps teach the pace; from then on a step is full but not over: one chunk more would be
        var learnt = times.Skip(20).ToList();
        Assert.True(learnt.Count > 400, $"{learnt.Count} steps with prefill");
        Assert.All(learnt, time => Assert.InRange(time, 0, Budget * 1.02));
        var largestChunk = pace * Cost.Milliseconds(131_000 - 1024, 131_000);
        Assert.True(learnt.Average() > Budget - largestChunk, $"{learnt.Average():0.0} ms a step of {Budget}");
        Assert.True(streams.All(stream => stream.Choices[0].Tokens.Count > learnt.Count), "a stream missed steps");
        Assert.Equal(131_072, backend.Info.MaxModelLength);
    }

    [Fact]
    public void Prompts_of_few_tokens_cost_what_reading_the_weights_does()
    {
        var driver = Drive(1, out _);
        Streams(driver, 1);
        var times = Watch(driver, 1);
        var chats = Enumerable.Range(0, 40).Select(i => driver.Add(Request(Prompt(10, 100 + i), 2))).ToList();
        chats.ForEach(chat => driver.Finish(chat));
        Assert.All(times, time => Assert.InRange(time, 0, Budget * 1.02));

        // 400 tokens are one pack; one by one they would take 40 times 32 layers of 0.18 ms, 12 steps
        Assert.InRange(times.Count, 1, 3);
    }

    [Fact]
    public void Short_prompts_go_through_a_layer_two_and_two()
    {
        var driver = Drive(1, out _);
        Streams(driver, 1);
        var packs = new List<int>();
        var times = new List<double>();
        driver.OnPlan = plan =>
        {
            times.Add(TimeOf(plan));
            for (var rest = plan.Prefills.Items; rest.Length > 0; rest = rest[packs[^1]..])
            {
                packs.Add(PromptPack.Count(rest, 1024));
            }
        };
        var prompts = Enumerable.Range(0, 12).Select(i => driver.Add(Request(Prompt(512, 100 + i), 2))).ToList();
        prompts.ForEach(prompt => driver.Finish(prompt));
        Assert.All(packs, pack => Assert.Equal(2, pack));
        Assert.All(times, time => Assert.InRange(time, 0, Budget * 1.02));

        // six packs of a full chunk, 32 layers of 0.75 ms each
        Assert.Equal(6 * Layers * 0.75, times.Sum(), 6);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Text_and_pages_are_the_same_with_packs_and_without(bool prefixCaching)
    {
        var texts = new[] { true, false }.Select(packs =>
        {
            var driver = new StepDriver(
                new FakeBackend(slots: 12, maxModelLength: 2048, pages: 300, lookAhead: 1, chunk: 256, packs: packs, cost: PrefillCost.Linear(0.01, 0)),
                new EngineOptions { PrefillBudgetMilliseconds = 3, PrefixCaching = prefixCaching, Fingerprint = "test", CheckIntegrity = true });
            var random = new Random(5);
            var system = Prompt(130, 77);
            var live = new List<Generation>();
            for (var i = 0; i < 60; i++)
            {
                int[] prompt = [.. random.Next(2) == 0 ? system : [], .. Prompt(1 + random.Next(150), i)];
                live.Add(driver.Add(EngineHarness.Request(prompt, 1 + random.Next(12), 1 + random.Next(3))));
                for (var steps = random.Next(3); steps > 0; steps--)
                {
                    driver.Step();
                }

                if (random.Next(8) == 0)
                {
                    driver.Scheduler.Abort(live[random.Next(live.Count)], -1);
                }
            }

            while (live.Exists(generation => generation.Unfinished > 0))
            {
                driver.Step();
            }

            driver.ExpectEmpty();
            return live.Select(generation => generation.Choices.Select(choice => choice.Tokens.ToArray()).ToArray()).ToList();
        }).ToList();
        for (var i = 0; i < texts[0].Count; i++)
        {
            for (var choice = 0; choice < texts[0][i].Length; choice++)
            {
                // an abort cuts a text where the traffic had got to
                var length = Math.Min(texts[0][i][choice].Length, texts[1][i][choice].Length);
                Assert.Equal(texts[0][i][choice].AsSpan(0, length), texts[1][i][choice].AsSpan(0, length));
            }
        }
    }

    [Fact]
    public void A_prompt_of_128K_ends_although_short_ones_keep_coming()
    {
        var driver = Drive(1, out _);
        Streams(driver, 1);
        var document = driver.Add(Request(Prompt(131_000, 9), 1));
        var prompts = 0;
        var steps = 0;
        var running = new List<Generation>();
        while (document.Unfinished > 0)
        {
            running.RemoveAll(chat => chat.Unfinished == 0);
            while (running.Count < 6)
            {
                running.Add(driver.Add(Request(Prompt(900, 1000 + prompts++), 1)));
            }

            driver.Step();
            steps++;
        }

        // alone it takes about 800 steps; a quarter of the steps is its own
        Assert.InRange(steps, 800, 3400);
        Assert.True(prompts > 1000, $"{prompts} short prompts passed by");
    }

    [Fact]
    public void Documents_without_a_lane_wait_and_chats_pass_by()
    {
        var driver = Drive(1, out var backend, maxModelLength: 16_384, lanes: [16_384, 2048]);
        var documents = Enumerable.Range(0, 4).Select(i => driver.Add(Request(Prompt(16_000, i), 8))).ToList();
        driver.Step();
        driver.Step();
        Assert.Equal(3, driver.Stats.Waiting);
        var chat = driver.Add(Request(Prompt(100, 50), 4));
        driver.Finish(chat);
        Assert.All(documents, document => Assert.Equal(1, document.Unfinished));
        documents.ForEach(document => Assert.Equal(8, driver.Finish(document)[0].Length));
        Assert.Equal([16_384, 2048], backend.Info.LaneLengths);
        driver.ExpectEmpty();
    }

    [Fact]
    public void How_a_prompt_is_sliced_does_not_change_the_text()
    {
        var texts = new[] { 1.0, 3.0, 0.4 }.Select(pace =>
        {
            var driver = Drive(pace, out _, maxModelLength: 16_384);
            Streams(driver, 2);
            return driver.Run(Request(Prompt(9000, 3), 20))[0];
        }).ToList();
        Assert.Equal(texts[0], texts[1]);
        Assert.Equal(texts[0], texts[2]);
    }

    private static StepDriver Drive(double pace, out FakeBackend backend, int maxModelLength = 131_072, int[]? lanes = null)
    {
        backend = new FakeBackend(
            slots: 16, maxModelLength: maxModelLength, pages: 4500, lookAhead: 1, layers: Layers, lanes: lanes ?? [maxModelLength, 16_384], chunk: 1024, packs: true,
            cost: Cost)
        {
            PrefillTime = plan => pace * TimeOf(plan),
        };
        return new StepDriver(backend, new EngineOptions { PrefillBudgetMilliseconds = Budget, MaxBatchedTokens = 131_072, PrefixCaching = false });
    }

    private static double TimeOf(StepPlan plan)
    {
        var time = 0.0;
        for (var rest = plan.Prefills.Items; rest.Length > 0;)
        {
            var pack = PromptPack.Count(rest, 1024);
            var rows = rest[..pack].ToArray().Sum(slice => slice.EndToken - slice.FirstToken);
            var layers = rest[0].EndLayer - rest[0].FirstLayer;
            time += layers * (pack > 1 ? Cost.Milliseconds(0, rows) : Cost.Milliseconds(rest[0].FirstToken, rest[0].EndToken));
            rest = rest[pack..];
        }

        return time;
    }

    /// <summary>Chats that decode from now on, longer than any test.</summary>
    private static List<Generation> Streams(StepDriver driver, int count)
    {
        var streams = Enumerable.Range(0, count).Select(i => driver.Add(Request(Prompt(5, i), 8000))).ToList();
        while (streams.Exists(stream => stream.Choices[0].Tokens.Count < 2))
        {
            driver.Step();
        }

        return streams;
    }

    /// <summary>True milliseconds of prefill of every step from now on that has any.</summary>
    private static List<double> Watch(StepDriver driver, double pace)
    {
        var times = new List<double>();
        driver.OnPlan = plan =>
        {
            if (plan.Prefills.Count > 0)
            {
                Assert.True(plan.Decodes.Count > 0, "prefill without the streams");
                times.Add(pace * TimeOf(plan));
            }
        };
        return times;
    }

    private static GenerationRequest Request(int[] prompt, int maxTokens) => EngineHarness.Request(prompt, maxTokens);

    private static int[] Prompt(int length, int seed)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, length).Select(_ => random.Next(1000))];
    }
}
