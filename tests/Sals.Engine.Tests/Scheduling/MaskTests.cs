using Sals.Engine.Paging;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Scheduling;

public class MaskTests
{
    private static readonly int[] Prompt = [.. Enumerable.Range(0, 100)];

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void A_mask_holds_for_every_row_of_its_sequences_and_for_no_other(int lookAhead)
    {
        var driver = new StepDriver(new FakeBackend(lookAhead: lookAhead));
        var mask = new uint[(1000 + 31) / 32];
        mask[0] = 1u << 5;
        mask[31] = 1u << 7;
        var masked = driver.Add(EngineHarness.Request(Prompt, 70, 2) with { AllowedTokens = mask });
        var free = driver.Add(EngineHarness.Request(Prompt, 70));
        for (var i = 0; i < 20; i++)
        {
            driver.Step();
        }

        // the replay runs under the mask too
        driver.Scheduler.Preempt(masked.Choices[1]);
        foreach (var (choice, tokens) in driver.Finish(masked).Index())
        {
            for (var j = 0; j < tokens.Length; j++)
            {
                Assert.Equal(FakeBackend.NextAllowed(FakeBackend.Expected(Prompt, tokens.AsSpan(0, j), masked.Choices[choice].Sampling), mask), tokens[j]);
            }
        }

        var unmasked = driver.Finish(free)[0];
        Assert.Equal(FakeBackend.Expected(Prompt, unmasked.AsSpan(0, 69), free.Choices[0].Sampling), unmasked[69]);
        driver.ExpectEmpty();
    }

    [Fact]
    public async Task A_mask_of_another_length_or_without_a_token_is_refused()
    {
        await using var harness = await EngineHarness.StartAsync(() => new FakeBackend());
        Assert.Throws<ArgumentException>(() => harness.Engine.Start(EngineHarness.Request(Prompt, 1) with { AllowedTokens = new uint[32] }));
        Assert.Throws<ArgumentException>(() => harness.Engine.Start(EngineHarness.Request(Prompt, 1) with { AllowedTokens = [1] }));
    }

    [Theory]
    [InlineData("dense")]
    [InlineData("late")]
    public void Rows_are_counted_by_what_they_could_select_and_did(string cache)
    {
        var backend = new FakeBackend(pages: 80, spec: SchedulerStormTests.Spec(cache));
        var driver = new StepDriver(backend);
        driver.Run(EngineHarness.Request(Prompt, 200));
        var spec = backend.Info.Spec;
        var lengths = Enumerable.Range(Prompt.Length + 1, 199).ToArray();
        Assert.Equal(lengths.Sum(), driver.Stats.ContextTokens);
        Assert.Equal(lengths.Sum(length => CacheTimeline.CandidateCount(length, spec)), driver.Stats.CandidateTokens);
        Assert.Equal(lengths.Sum(length => CacheTimeline.SelectedCount(length, spec)), driver.Stats.SelectedTokens);
        Assert.Equal(cache != "dense", driver.Stats.SelectedTokens > 0);

        // 199 decode rows and a prompt of 100 tokens, however it was cut into steps
        Assert.Equal(299, driver.Stats.StepTokens.Sum);
        Assert.Equal(driver.Stats.Steps, Enumerable.Range(0, TokenHistogram.Bounds.Count + 1).Sum(driver.Stats.StepTokens.Count));
    }
}
