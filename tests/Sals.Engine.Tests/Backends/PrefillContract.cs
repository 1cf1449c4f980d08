using Sals.Engine.Paging;
using Sals.Engine.Scheduling;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Backends;

/// <summary>How a prompt gets into the cache, in slices, lanes, shared pages and for several choices, changes nothing that follows it.</summary>
public abstract class PrefillContract : SamplingContract
{
    [Fact]
    public void Slices_of_a_prompt_do_not_change_the_result()
    {
        using var backend = Create(Model());
        var plans = new Plans(backend);
        var other = Prompt(6, 19);
        // what it decodes must fit too; beside the other prompt it fills the lane to its end
        var prompt = Prompt(5, MaxLength - other.Length);
        var whole = Run(plans, 0, prompt, 4, Greedy);
        var layers = backend.Info.LayerCount;
        var chunk = backend.Info.PrefillChunk;
        Assert.True(prompt.Length > 2 * chunk);

        // layer by layer in chunks, a step each
        plans.Start(1, prompt, Greedy);
        for (var layer = 0; layer < layers; layer++)
        {
            for (var first = 0; first < prompt.Length; first += chunk)
            {
                plans.Slice([1], prompt, layer, layer + 1, first, Math.Min(first + chunk, prompt.Length)).Step();
            }
        }

        // the last slice sampled; its row is followed by decode rows
        Assert.Equal(whole[1..], Continue(plans, 1, 3));

        // first layer in two unequal pieces, the others at once, in the other lane behind another prompt
        plans.Start(2, prompt, Greedy).Start(3, other, Greedy);
        plans.Slice([2], prompt, 0, 1, 0, 2 * chunk, lane: 1, laneOffset: other.Length);
        plans.Prefill(3, other, lane: 1);
        plans.Slice([2], prompt, 0, 1, 2 * chunk, prompt.Length, lane: 1, laneOffset: other.Length).Step();
        var result = plans.Slice([2], prompt, 1, layers, 0, prompt.Length, lane: 1, laneOffset: other.Length).Step();
        Assert.Equal(whole[0], new RowSample(result, 0));
        Assert.Equal(whole[1..], Continue(plans, 2, 3));
        Assert.Equal(Run(plans, 4, other, 3, Greedy)[1..], Continue(plans, 3, 2));
    }

    [Fact]
    public void Two_prompts_interleaved_in_their_lanes_keep_apart()
    {
        using var backend = Create(Model());
        var plans = new Plans(backend);
        var a = Prompt(7, 130);
        var b = Prompt(8, 100);
        var wholeA = Run(plans, 0, a, 1, Greedy)[0];
        var wholeB = Run(plans, 1, b, 1, Greedy)[0];
        plans.Start(2, a, Greedy).Start(3, b, Greedy);
        StepResult? result = null;
        for (var layer = 0; layer < backend.Info.LayerCount; layer++)
        {
            plans.Slice([2], a, layer, layer + 1, 0, a.Length, lane: 0).Slice([3], b, layer, layer + 1, 0, b.Length, lane: 1);
            result = plans.Step();
        }

        Assert.Equal([2, 3], result!.Slots[..result.Count]);
        Assert.Equal(wholeA, new RowSample(result, 0));
        Assert.Equal(wholeB, new RowSample(result, 1));
    }

    [Fact]
    public void Decode_rows_beside_prefill_slices_are_unchanged()
    {
        using var backend = Create(Model());
        var plans = new Plans(backend);
        var prompt = Prompt(9, 12);
        var large = Prompt(10, 200);
        var alone = Run(plans, 0, prompt, 4, Greedy);
        plans.Start(1, prompt, Greedy).Prefill(1, prompt).Step();
        plans.Start(2, large);
        for (var layer = 0; layer < 3; layer++)
        {
            var result = plans.Decode(1).Slice([2], large, layer, layer + 1, 0, large.Length).Step();
            Assert.Equal(alone[layer + 1], new RowSample(result, 0));
            Assert.Equal(layer == 2 ? 2 : 1, result.Count);
        }
    }

    [Fact]
    public void Tokens_taken_from_shared_pages_give_the_same_result()
    {
        using var backend = Create(Model());
        var plans = new Plans(backend);
        var prompt = Prompt(11, 200);
        var whole = Run(plans, 0, prompt, 5, Greedy);
        var shared = Hit(1);
        if (CacheTimeline.LatentPages(prompt.Length, backend.Info.Spec) == 0 && !backend.Info.Spec.HasCodedPages)
        {
            Assert.Equal(whole, shared);
        }
        else
        {
            // a compressed or coded prefix is not the exact one, but it is one prefix
            Assert.NotEqual(whole[0].Top, shared[0].Top);
            Assert.Equal(shared, Hit(2));
        }

        RowSample[] Hit(int slot)
        {
            plans.Start(slot, prompt, Greedy);
            foreach (var pool in PoolKinds.All)
            {
                for (var index = 0; index < 2; index++)
                {
                    Share(plans, pool, 0, slot, index);
                }
            }

            return [new RowSample(plans.Prefill(slot, prompt, history: 2 * PageLayout.PageSize).Step(), 0), .. Continue(plans, slot, 4)];
        }
    }

    [Fact]
    public void Choices_share_a_prefill_and_choice_zero_equals_a_single_one()
    {
        using var backend = Create(Model());
        var plans = new Plans(backend);
        var prompt = Prompt(13, 90);
        var single = Run(plans, 0, prompt, 8, Sampled(5));
        for (uint choice = 0; choice < 3; choice++)
        {
            plans.Start(1 + (int)choice, prompt, Sampled(5) with { Stream = choice });
        }

        var result = plans.Slice([1, 2, 3], prompt, 0, backend.Info.LayerCount, 0, prompt.Length).Step();
        Assert.Equal([1, 2, 3], result.Slots[..result.Count]);
        Assert.Equal(single[0], new RowSample(result, 0));
        Assert.Equal(new RowSample(result, 0).Top, new RowSample(result, 1).Top);

        // each fork shares the whole page and copies the partly filled one
        for (var slot = 2; slot <= 3; slot++)
        {
            foreach (var pool in PoolKinds.All)
            {
                Share(plans, pool, 1, slot, 0);
                if (plans.PageOf(pool, 1, 1) != 0)
                {
                    var page = plans.NewPage(pool);
                    plans.Page(pool, slot, 1, page).Copy(pool, plans.PageOf(pool, 1, 1), page);
                }
            }
        }

        var rows = new List<RowSample>[] { [], [], [] };
        for (var step = 1; step < 8; step++)
        {
            result = plans.Decode(1).Decode(2).Decode(3).Step();
            for (var i = 0; i < 3; i++)
            {
                rows[i].Add(new RowSample(result, i));
            }
        }

        Assert.Equal(single[1..], rows[0]);
        Assert.NotEqual(rows[0].Select(r => r.Token), rows[1].Select(r => r.Token));
        Assert.NotEqual(rows[1].Select(r => r.Token), rows[2].Select(r => r.Token));
    }

    private static void Share(Plans plans, PoolKind pool, int from, int to, int index)
    {
        if (plans.PageOf(pool, from, index) != 0)
        {
            plans.Page(pool, to, index, plans.PageOf(pool, from, index));
        }
    }
}
