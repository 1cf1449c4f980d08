using Sals.Engine.Latent;
using Sals.Engine.Paging;
using Sals.Engine.Sampling;
using Sals.Engine.Scheduling;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Scheduling;

/// <summary>
/// Thousands of random arrivals, aborts and ends against the literal fake, every reference count checked after every step. Small pools,
/// so that preemption, eviction and refusal happen all the time.
/// </summary>
public class SchedulerStormTests
{
    public static TheoryData<int, string, int> Storms()
    {
        var data = new TheoryData<int, string, int>();
        foreach (var lookAhead in new[] { 0, 1 })
        {
            foreach (var cache in new[] { "dense", "sparse", "mixed", "late" })
            {
                foreach (var seed in new[] { 1, 2 })
                {
                    data.Add(lookAhead, cache, seed);
                }
            }
        }

        return data;
    }

    public static LatentSpec? Spec(string cache) => cache switch
    {
        "sparse" => new LatentSpec { Name = cache, LayerCount = 4, DenseLayers = [], Rank = 16, ScoreRank = 8, SinkTokens = 16, RecentTokens = 64, CriticalMin = 16, CriticalMax = 64 },
        "mixed" => new LatentSpec { Name = cache, LayerCount = 4, DenseLayers = [0, 3], Rank = 16, ScoreRank = 8, SinkTokens = 0, RecentTokens = 32, CriticalMin = 16, CriticalMax = 64 },
        "late" => new LatentSpec { Name = cache, LayerCount = 4, DenseLayers = [0, 3], Rank = 16, ScoreRank = 8, SinkTokens = 4, RecentTokens = 64, DenseBelow = 200, CriticalMin = 16, CriticalMax = 64 },
        _ => null,
    };

    [Theory]
    [MemberData(nameof(Storms))]
    public void Every_text_is_right_and_every_page_is_accounted_for(int lookAhead, string cache, int seed)
    {
        var random = new Random(seed * 7919 + lookAhead);
        var backend = new FakeBackend(slots: 6, maxModelLength: 640, pages: 12, lookAhead: lookAhead, spec: Spec(cache));
        var driver = new StepDriver(backend);
        var (scheduler, stats) = (driver.Scheduler, driver.Stats);
        var live = new List<Generation>();
        int started = 0, checkedTexts = 0, hits = 0;
        var shared = Tokens(random, 400);
        var iterations = 40000;
        while (started < 400 || live.Count > 0)
        {
            Assert.True(iterations-- > 0, $"no progress: {live.Count} live, {stats.Waiting} waiting, {stats.Running} running (seed {seed})");
            if (started < 400 && live.Count < 12 && random.Next(3) == 0)
            {
                started++;
                live.Add(driver.Add(NewRequest(random, shared)));
            }

            if (live.Count > 0 && random.Next(12) == 0)
            {
                var victim = live[random.Next(live.Count)];
                scheduler.Abort(victim, random.Next(2) == 0 ? -1 : random.Next(victim.Choices.Length));
            }

            driver.Step();
            for (var i = live.Count - 1; i >= 0; i--)
            {
                if (live[i].Unfinished == 0)
                {
                    checkedTexts += CheckText(live[i]);
                    hits += live[i].Handle.Trace.CachedTokens > 0 ? 1 : 0;
                    live.RemoveAt(i);
                }
            }
        }

        driver.ExpectEmpty();
        Assert.All(PoolKinds.All, kind => Assert.Equal(0, stats.PagesUsed(kind)));
        Assert.True(checkedTexts > 100 && stats.Preemptions > 5 && hits > 20, $"the storm was a breeze: {checkedTexts} texts, {stats.Preemptions} preemptions, {hits} hits");
    }

    private static int[] Tokens(Random random, int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(1000))];

    private static GenerationRequest NewRequest(Random random, int[] shared)
    {
        // half of the prompts share a prefix of some length
        var own = Tokens(random, random.Next(1, 200));
        int[] prompt = random.Next(2) == 0 ? own : [.. shared[..random.Next(60, 400)], .. own[..Math.Min(own.Length, 30)]];
        return EngineHarness.Request(
            prompt,
            random.Next(1, Math.Min(180, 640 - prompt.Length)),
            random.Next(4) == 0 ? random.Next(1, 4) : 1,
            new SamplingOptions { Seed = (ulong)random.Next(4) },
            random.Next(2) == 0 ? [FakeBackend.StopToken] : [],
            random.Next(8) == 0 ? "tenant" : null);
    }

    private static int CheckText(Generation generation)
    {
        var request = generation.Request;
        var whole = 0;
        foreach (var sequence in generation.Choices)
        {
            var tokens = sequence.Tokens.ToArray();
            for (var i = 0; i < tokens.Length; i++)
            {
                Assert.Equal(FakeBackend.Expected(request.Prompt, tokens.AsSpan(0, i), sequence.Sampling), tokens[i]);
                Assert.True(i == tokens.Length - 1 || !request.StopTokenIds.Contains(tokens[i]), "a stop token in the middle");
            }

            Assert.True(tokens.Length <= request.MaxTokens);
            whole++;
        }

        var events = new List<TokenEvent>();
        while (generation.Handle.Events.TryRead(out var token))
        {
            events.Add(token);
        }

        Assert.True(generation.Handle.Events.Completion.IsCompleted);
        foreach (var sequence in generation.Choices)
        {
            var own = events.Where(token => token.Choice == sequence.Choice).ToList();
            Assert.Equal(sequence.Tokens, own.Where(token => token.Token >= 0).Select(token => token.Token));
            Assert.Single(own, token => token.Finish != FinishReason.None);
            Assert.NotEqual(FinishReason.None, own[^1].Finish);
            Assert.NotEqual(FinishReason.Error, own[^1].Finish);
        }

        return whole;
    }
}
