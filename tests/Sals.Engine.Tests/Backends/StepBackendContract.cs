using Sals.Engine.Backends;
using Sals.Engine.Paging;
using Sals.Engine.Scheduling;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Backends;

/// <summary>
/// The rules that every <see cref="IStepBackend"/> keeps, one fact each, on a small random model: here those of steps, pages and faults, below it those of
/// sampling and of prefill. They are one line of classes, so that a backend's test class is one and runs them all.
/// </summary>
public abstract class StepBackendContract : PrefillContract
{
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

        var together = new RowSample[Slots][];
        var result = plans.Step();
        for (var slot = 0; slot < Slots; slot++)
        {
            together[slot] = [new RowSample(result, slot)];
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
                together[result.Slots[i]] = [.. together[result.Slots[i]], new RowSample(result, i)];
            }
        }

        for (var slot = 0; slot < Slots; slot++)
        {
            Assert.Equal(alone[slot], together[slot]);
        }
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
        Assert.Equal(expected[0], new RowSample(result, 0));
        backend.Collect(second, result);
        Assert.Equal(expected[1], new RowSample(result, 0));
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
        var layout = new PageLayout(weights.Config, info.Spec, ExactType);
        foreach (var pool in PoolKinds.All)
        {
            Assert.Equal(layout.PageBytes(pool), info.BytesOf(pool));
            Assert.Equal(0, info.BytesOf(pool) % PageLayout.Unit);
            Assert.True(info.BytesOf(pool) <= info.SlabBytes);
        }

        Assert.Equal(layout.ExactPageBytes, info.ExactPageBytes);
        Assert.Equal(layout.TokensIn(info.CacheBytes, info.MaxModelLength), info.CacheTokens);
        Assert.Equal(0, info.CacheBytes % info.SlabBytes);
    }

    [Fact]
    public void Lanes_and_costs_are_known_before_the_first_step()
    {
        using var backend = Create(Model());
        Assert.Equal(MaxLength, backend.Info.LaneLengths[0]);
        Assert.True(backend.Info.PrefillCost.Milliseconds(0, 1) > 0 && backend.Info.PrefillCost.PerPair > 0);
    }

    [Fact]
    public void An_empty_step_samples_nothing()
    {
        using var backend = Create(Model());
        Assert.Equal(0, new Plans(backend).Step().Count);
    }
}
