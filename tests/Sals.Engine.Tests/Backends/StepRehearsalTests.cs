using Sals.Engine.Backends;
using Sals.Engine.Latent;
using Sals.Engine.Scheduling;
using Sals.Engine.Tests.Latent;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Backends;

public class StepRehearsalTests
{
    [Theory]
    [InlineData("dense")]
    [InlineData("sals-25")]
    public void Plans_one_prompt_and_one_decode_row_that_keep_the_contract(string preset)
    {
        var config = LatentModels.Config();
        using var backend = new FakeBackend(spec: LatentSpecParser.Parse(preset, [], config), layers: config.LayerCount);
        var steps = new List<(int Prompts, int Rows)>();
        backend.OnSubmit = plan => steps.Add((plan.Prefills.Count, plan.Decodes.Count));
        StepRehearsal.Run(backend);
        Assert.Equal([(1, 0), (0, 1)], steps);

        // a request takes the same slot, lane and pages
        var prompt = Enumerable.Range(0, 70).ToArray();
        backend.OnSubmit = null;
        var driver = new StepDriver(backend);
        Assert.Equal(FakeBackend.Expected(prompt, [], new()), driver.Run(EngineHarness.Request(prompt, 20))[0][0]);
        driver.ExpectEmpty();
    }

    [Fact]
    public void Runs_nothing_where_three_tokens_do_not_fit()
    {
        using var backend = new FakeBackend(maxModelLength: 2);
        backend.OnSubmit = _ => Assert.Fail("a step was submitted");
        StepRehearsal.Run(backend);
    }
}
