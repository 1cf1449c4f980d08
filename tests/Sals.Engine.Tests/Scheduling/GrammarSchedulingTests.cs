using Sals.Engine.Grammar;
using Sals.Engine.Scheduling;
using Sals.Engine.Tests.Grammar;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Scheduling;

public class GrammarSchedulingTests
{
    private const int Tokens = 60;
    private static readonly int[] Prompt = [.. Enumerable.Range(0, 100)];

    private static readonly TokenGrammar Grammar = GrammarWalk.Compiler.JsonSchema(GrammarWalk.Json(
        """{"type":"object","properties":{"name":{"type":"string","maxLength":9},"list":{"type":"array","items":{"type":"integer","minimum":0,"maximum":99},"maxItems":6}},"required":["name","list"]}"""));

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void Choices_follow_the_grammar_token_by_token_and_others_are_left_alone(int lookAhead)
    {
        var driver = new StepDriver(new FakeBackend(lookAhead: lookAhead));
        var masked = driver.Add(Request(choices: 2));
        var free = driver.Add(EngineHarness.Request(Prompt, 70));
        foreach (var (choice, tokens) in driver.Finish(masked).Index())
        {
            Assert.Equal(Expected(masked.Choices[choice]), tokens);
        }

        var unmasked = driver.Finish(free)[0];
        Assert.Equal(FakeBackend.Expected(Prompt, unmasked.AsSpan(0, 69), free.Choices[0].Sampling), unmasked[69]);
        driver.ExpectEmpty();
    }

    [Theory]
    [InlineData(0)]
    [InlineData(1)]
    public void A_preemption_at_any_token_changes_nothing(int lookAhead)
    {
        var expected = new StepDriver(new FakeBackend(lookAhead: lookAhead)).Run(Request())[0];
        Assert.True(expected.Length > 10);
        for (var at = 1; at < expected.Length; at++)
        {
            var driver = new StepDriver(new FakeBackend(lookAhead: lookAhead));
            var generation = driver.Add(Request());
            while (generation.Choices[0].Tokens.Count < at)
            {
                driver.Step();
            }

            Assert.True(driver.Scheduler.Preempt(generation.Choices[0]));
            Assert.Equal(expected, driver.Finish(generation)[0]);
            driver.ExpectEmpty();
        }
    }

    [Fact]
    public void A_masked_row_waits_for_the_token_before_it()
    {
        var driver = new StepDriver(new FakeBackend(lookAhead: 1));
        var generation = driver.Add(Request());
        var sequence = generation.Choices[0];
        driver.OnPlan = plan =>
        {
            foreach (var row in plan.Decodes.Items)
            {
                Assert.Equal(sequence.Tokens.Count, sequence.RowsPlanned);
                Assert.Contains(plan.Masks.Items.ToArray(), mask => mask.Slot == row.Slot);
            }
        };
        driver.Finish(generation);
        driver.ExpectEmpty();
    }

    [Fact]
    public async Task A_complete_text_ends_its_choice_with_stop_and_no_end_token()
    {
        await using var harness = await EngineHarness.StartAsync(() => new FakeBackend(lookAhead: 1));
        var answer = (await harness.GenerateAsync(Request()))[0];
        Assert.Equal(FinishReason.Stop, answer.Finish);
        Assert.Equal(-1, answer.Events[^1].StopToken);
        Assert.DoesNotContain(GrammarWalk.Stop, answer.Tokens);
        var json = System.Text.Encoding.UTF8.GetString([.. answer.Tokens.SelectMany(id => GrammarWalk.Tokens[id])]);
        Assert.Equal(System.Text.Json.JsonValueKind.Array, GrammarWalk.Json(json).GetProperty("list").ValueKind);

        // a length limit cuts the text
        Assert.Equal(FinishReason.Length, (await harness.GenerateAsync(Request() with { MaxTokens = 3 }))[0].Finish);
    }

    [Fact]
    public async Task A_grammar_of_another_vocabulary_or_beside_other_masks_is_refused()
    {
        await using var harness = await EngineHarness.StartAsync(() => new FakeBackend());
        var other = new GrammarCompiler(() => new TokenTrie(2000, GrammarWalk.Tokens)).Regex("a+");
        Assert.Throws<ArgumentException>(() => harness.Engine.Start(Request() with { Grammar = other }));
        Assert.Throws<ArgumentException>(() => harness.Engine.Start(Request() with { AllowedTokens = [.. Enumerable.Repeat(1u, 32)] }));
        Assert.Throws<ArgumentException>(() => harness.Engine.Start(Request() with { ForcedTokens = new int[Tokens] }));
    }

    private static GenerationRequest Request(int choices = 1) =>
        EngineHarness.Request(Prompt, Tokens, choices, stops: [GrammarWalk.Stop]) with { Grammar = Grammar };

    /// <summary>The fake backend's text under the masks of a matcher that nothing has interrupted.</summary>
    private static int[] Expected(Sequence sequence)
    {
        var matcher = new TokenMatcher(Grammar, [GrammarWalk.Stop]);
        var tokens = new List<int>();
        while (tokens.Count < Tokens)
        {
            tokens.Add(FakeBackend.NextAllowed(FakeBackend.Expected(Prompt, tokens.ToArray(), sequence.Sampling), matcher.Mask));
            if (tokens[^1] == GrammarWalk.Stop || matcher.Advance(tokens[^1]) != MatchResult.Open)
            {
                break;
            }
        }

        return [.. tokens];
    }
}
