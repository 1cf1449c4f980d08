using Sals.Engine.Paging;
using Sals.Engine.Sampling;
using Sals.Engine.Scheduling;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Scheduling;

/// <summary>Single rules of the scheduler, each against the literal fake.</summary>
public class SchedulerTests
{
    private static int[] Prompt(int length, int seed = 1) => [.. Enumerable.Range(0, length).Select(i => (i * 31 + seed * 17) % 1000)];

    private static int[] Text(int[] prompt, int count, SamplingOptions? sampling = null)
    {
        var tokens = new List<int>();
        while (tokens.Count < count)
        {
            tokens.Add(FakeBackend.Expected(prompt, tokens.ToArray(), sampling ?? new SamplingOptions()));
        }

        return [.. tokens];
    }

    [Theory]
    [InlineData(0, "dense")]
    [InlineData(1, "dense")]
    [InlineData(0, "mixed")]
    [InlineData(1, "mixed")]
    public void Preempted_at_every_position_gives_the_same_text(int lookAhead, string cache)
    {
        var prompt = Prompt(130);
        for (var position = 0; position < 80; position += 1)
        {
            var driver = new StepDriver(new FakeBackend(pages: 40, lookAhead: lookAhead, spec: SchedulerStormTests.Spec(cache)));
            var generation = driver.Add(EngineHarness.Request(prompt, 80));
            while (generation.Choices[0].Tokens.Count <= position && generation.Unfinished > 0)
            {
                driver.Step();
            }

            driver.Scheduler.Preempt(generation.Choices[0]);
            Assert.Equal(Text(prompt, 80), driver.Finish(generation)[0]);
            driver.ExpectEmpty();
        }
    }

    [Fact]
    public void Decode_rows_run_between_the_prefill_slices_of_another_prompt()
    {
        var driver = new StepDriver(new FakeBackend(pages: 80), new EngineOptions { PrefillBudgetMilliseconds = 6.4, CheckIntegrity = true });
        var chat = driver.Add(EngineHarness.Request(Prompt(10), 400));
        while (chat.Choices[0].Tokens.Count < 3)
        {
            driver.Step();
        }

        // 900 tokens at 0.1 ms a token and layer are 90 ms a layer: at most 64 tokens fit into a step's 6.4 ms
        var slices = 0;
        driver.OnPlan = plan =>
        {
            slices += plan.Prefills.Count > 0 ? 1 : 0;
            Assert.True(plan.Prefills.Count == 0 || plan.Decodes.Count == 1, "a prefill slice held up the chat");
            Assert.All(plan.Prefills.Items.ToArray(), slice => Assert.True(slice.EndToken - slice.FirstToken <= 64));
        };
        var document = driver.Add(EngineHarness.Request(Prompt(900, 2), 1));
        var before = chat.Choices[0].Tokens.Count;
        driver.Finish(document);
        Assert.True(slices >= 4 * 900 / 64, $"{slices} steps with a slice");
        Assert.Equal(slices, chat.Choices[0].Tokens.Count - before);
    }

    [Fact]
    public void A_short_prompt_overtakes_a_long_one_in_prefill()
    {
        var driver = new StepDriver(new FakeBackend(pages: 80), new EngineOptions { PrefillBudgetMilliseconds = 3.2 });
        driver.Add(EngineHarness.Request(Prompt(5), 1000));
        var slow = driver.Add(EngineHarness.Request(Prompt(900), 1));
        driver.Step();
        driver.Step();
        var fast = driver.Add(EngineHarness.Request(Prompt(40, 3), 1));
        driver.Finish(fast);
        Assert.Equal(1, slow.Unfinished);
    }

    [Fact]
    public void An_equal_prefix_in_prefill_is_waited_for_and_then_reused()
    {
        var driver = new StepDriver(new FakeBackend(pages: 80), new EngineOptions { PrefillBudgetMilliseconds = 3.2, CheckIntegrity = true });
        var first = driver.Add(EngineHarness.Request(Prompt(500), 4));
        driver.Step();
        var second = driver.Add(EngineHarness.Request(Prompt(500), 4));
        driver.Step();
        Assert.Equal(1, driver.Stats.Deferred);
        driver.Finish(first);
        driver.Finish(second);
        Assert.Equal(0, first.Handle.Trace.CachedTokens);
        Assert.Equal(448, second.Handle.Trace.CachedTokens);
    }

    [Fact]
    public void A_salt_keeps_prefixes_apart()
    {
        var driver = new StepDriver(new FakeBackend(pages: 80));
        driver.Run(EngineHarness.Request(Prompt(200), 2, salt: "a"));
        var other = driver.Add(EngineHarness.Request(Prompt(200), 2, salt: "b"));
        var same = driver.Add(EngineHarness.Request(Prompt(200), 2, salt: "a"));
        driver.Finish(other);
        driver.Finish(same);
        Assert.Equal(0, other.Handle.Trace.CachedTokens);
        Assert.Equal(192, same.Handle.Trace.CachedTokens);
    }

    [Fact]
    public void Whole_prompt_cached_still_computes_its_last_page()
    {
        var driver = new StepDriver(new FakeBackend(pages: 80));
        driver.Run(EngineHarness.Request(Prompt(128), 2));
        var again = driver.Add(EngineHarness.Request(Prompt(128), 2));
        driver.Finish(again);
        Assert.Equal(64, again.Handle.Trace.CachedTokens);
    }

    [Fact]
    public void A_compressed_prompt_never_takes_its_window_from_the_cache()
    {
        var spec = SchedulerStormTests.Spec("sparse")!;
        var driver = new StepDriver(new FakeBackend(pages: 80, spec: spec));
        driver.Run(EngineHarness.Request(Prompt(640), 1));
        var again = driver.Add(EngineHarness.Request(Prompt(640), 1));
        driver.Finish(again);
        Assert.Equal(PageLayout.PageSize * CacheTimeline.LatentPages(640, spec), again.Handle.Trace.CachedTokens);
    }

    [Fact]
    public void Choices_share_the_prompt_and_differ_by_stream()
    {
        var driver = new StepDriver(new FakeBackend(pages: 40));
        var sampling = new SamplingOptions { Seed = 9 };
        var texts = driver.Run(EngineHarness.Request(Prompt(100), 30, 3, sampling));
        for (var choice = 0; choice < 3; choice++)
        {
            Assert.Equal(Text(Prompt(100), 30, sampling with { Stream = (uint)choice }), texts[choice]);
        }

        Assert.NotEqual(texts[0], texts[1]);
        driver.ExpectEmpty();
    }

    [Fact]
    public void Forced_tokens_are_reported_with_their_own_log_probability()
    {
        var driver = new StepDriver(new FakeBackend());
        var request = EngineHarness.Request(Prompt(20), 5) with { ForcedTokens = [4, 5, 7, 8, 9], StopTokenIds = [7] };
        var generation = driver.Add(request);
        Assert.Equal([4, 5, 7, 8, 9], driver.Finish(generation)[0]);
        while (generation.Handle.Events.TryRead(out var token))
        {
            Assert.Equal(-1, token.LogProbability);
        }
    }

    [Fact]
    public void A_request_that_can_never_have_its_pages_is_told()
    {
        // three pages of cache: 8 choices of a 65-token prompt need nine
        var driver = new StepDriver(new FakeBackend(slots: 8, maxModelLength: 128, pages: 1));
        var generation = driver.Add(EngineHarness.Request(Prompt(65), 2, 8));
        while (generation.Unfinished > 0)
        {
            driver.Step();
        }

        Assert.True(generation.Handle.Events.TryRead(out var token));
        Assert.Equal(FinishReason.Error, token.Finish);
        Assert.Contains("KV cache", token.Error, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void Aborted_at_any_moment_leaves_nothing(int lookAhead)
    {
        for (var moment = 0; moment < 60; moment++)
        {
            var driver = new StepDriver(
                new FakeBackend(pages: 40, lookAhead: lookAhead, spec: SchedulerStormTests.Spec("late")),
                new EngineOptions { PrefillBudgetMilliseconds = 3.2, CheckIntegrity = true });
            var generation = driver.Add(EngineHarness.Request(Prompt(260), 40, 2));
            for (var step = 0; step < moment; step++)
            {
                driver.Step();
            }

            driver.Scheduler.Abort(generation, -1);
            Assert.Equal(0, generation.Unfinished);
            driver.ExpectEmpty();
        }
    }

    [Fact]
    public void Nothing_is_allocated_by_steady_steps()
    {
        var backend = new FakeBackend(pages: 60, maxModelLength: 4096);
        var stats = new EngineStats();
        var scheduler = new Scheduler(backend.Info, new EngineOptions(), stats, TimeProvider.System);
        for (var i = 0; i < 4; i++)
        {
            scheduler.Add(new Generation(new GenerationHandle(EngineHarness.Request(Prompt(40, i), 700), (_, _) => { }), "test"));
        }

        var step = new PlannedStep(backend.Info.SlotCount, backend.Info.MaxModelLength);
        var allocated = new List<long>();
        for (var i = 0; i < 500; i++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            scheduler.Plan(step);
            var planned = GC.GetAllocatedBytesForCurrentThread() - before;
            var ticket = backend.Submit(step.Plan);
            backend.Collect(ticket, step.Result);
            before = GC.GetAllocatedBytesForCurrentThread();
            scheduler.Commit(step);
            allocated.Add(planned + GC.GetAllocatedBytesForCurrentThread() - before);
        }

        // now and then a list of tokens doubles or an event channel takes another segment; a step as such allocates nothing
        Assert.Equal(0, allocated.Skip(100).Order().ElementAt(200));
    }
}
