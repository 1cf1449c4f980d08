using Sals.Engine.Backends;
using Sals.Engine.Backends.Cpu;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Scheduling;
using Sals.Engine.Tests.Latent;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Backends;

public class CpuTextInvarianceTests : TextInvarianceContract
{
    protected override ModelConfig Config { get; } = TinyModel.Config(ShortLength) with { LayerCount = 5 };

    /// <summary>Int8 pages of short prompts are shared as well, but a replay must not meet codes where its first run had exact keys.</summary>
    [Fact]
    public void A_replay_of_a_short_prompt_takes_no_more_coded_pages_than_its_first_run()
    {
        const string cache = "dense dense_format=int8";
        var request = Request(Prompt(150), 40);
        using var backend = Backend(cache);
        var driver = new StepDriver(backend, Options(true));
        var first = driver.Add(request);
        var alone = driver.Finish(first)[0];
        Assert.Equal(0, first.Handle.Trace.CachedTokens);

        driver = new StepDriver(backend, Options(true));
        var preempted = driver.Add(request);
        while (preempted.Choices[0].Tokens.Count < 20)
        {
            driver.Step();
        }

        var second = driver.Add(request with { Id = "second" });
        driver.Step();
        Assert.Equal(2 * 64, second.Handle.Trace.CachedTokens);
        Assert.True(driver.Scheduler.Preempt(preempted.Choices[0]));
        Assert.Equal(alone, driver.Finish(preempted)[0]);
        Assert.True(driver.Scheduler.Preempt(second.Choices[0]) || second.Choices[0].State == SequenceState.Finished);
        driver.Finish(second);
        driver.ExpectEmpty();
    }

    [Fact]
    public void A_flush_depends_on_the_length_alone()
    {
        var request = Request(Prompt(170), 200);
        List<(int Slot, int Length, int Index)> Flushes(int others)
        {
            using var backend = Backend("sals-25");
            var driver = new StepDriver(backend, Options(false, budget: 0.05));
            var seen = new List<(int, int, int)>();
            var generation = driver.Add(request);
            driver.OnPlan = plan =>
            {
                foreach (var flush in plan.Flushes.Items)
                {
                    if (flush.Slot == generation.Choices[0].Slot)
                    {
                        seen.Add((flush.Slot, generation.Choices[0].Length, flush.Index));
                    }
                }
            };
            for (var i = 0; i < others; i++)
            {
                driver.Add(Request(Prompt(40 + (60 * i), i), 150, seed: (ulong)i));
            }

            driver.Finish(generation);
            return seen;
        }

        var quiet = Flushes(0);
        Assert.NotEmpty(quiet);
        Assert.Equal(quiet, Flushes(8));
    }

    protected override IStepBackend Backend(string cache, int pages = 0, int length = 0)
    {
        using var weights = TinyModel.Build(Config);
        var spec = Spec(cache);
        var layout = new PageLayout(Config, spec, ElementType.Float32);
        return new CpuBackend(weights, new CpuBackendOptions
        {
            Slots = 16,
            MaxModelLength = ShortLength,
            CacheBytes = pages == 0 ? 64L << 20 : pages * PoolKinds.All.Sum(layout.PageBytes),
            Spec = spec,
            Basis = spec.IsDense ? null : RandomBasis.Create(spec, Config.KeyWidth),
            Threads = 1,
        });
    }
}
