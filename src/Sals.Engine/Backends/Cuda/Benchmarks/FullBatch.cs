using Sals.Engine.Paging;
using Sals.Engine.Scheduling;

namespace Sals.Engine.Backends.Cuda.Benchmarks;

/// <summary>
/// The largest batch of equal sequences that a cache holds, found by taking their pages from pools of the same sizes: what slabs waste, and which page a
/// sequence takes before it gives one back, is the allocator's own answer. Touches no device.
/// </summary>
internal static class FullBatch
{
    /// <summary>Rows that can all grow from <paramref name="length"/> to <paramref name="maxLength"/> tokens, one token a step; at most the slots.</summary>
    public static int Rows(BackendInfo info, int length, int maxLength)
    {
        var rows = info.SlotCount;
        while (rows > 0)
        {
            var held = Grow(info, rows, length, maxLength);
            if (held == rows)
            {
                return rows;
            }

            rows = Math.Min(rows - 1, held);
        }

        return 0;
    }

    /// <summary>How many of the rows got all their pages; fewer than asked for when the pools ran dry at any step.</summary>
    private static int Grow(BackendInfo info, int rows, int length, int maxLength)
    {
        var pools = new CachePools(info);
        var sequences = new List<SequencePages>();
        while (sequences.Count < rows)
        {
            var pages = new SequencePages(pools, info.Spec, maxLength);
            if (!pages.TryAdmit(length, [], 0))
            {
                return sequences.Count;
            }

            sequences.Add(pages);
        }

        // with one step of look-ahead, pages come back a step after the one that read them last
        var plan = new StepPlan(info.SlotCount, info.MaxModelLength);
        List<(PoolKind Pool, int Page)>[] released = [[], []];
        for (var position = length; position < maxLength; position++)
        {
            var set = released[position % 2];
            foreach (var (pool, page) in set)
            {
                pools.Release(pool, page);
            }

            set.Clear();
            for (var slot = 0; slot < rows; slot++)
            {
                plan.Clear();
                if (!sequences[slot].TryExtend(position, slot, plan))
                {
                    return rows - 1;
                }

                sequences[slot].Flush(position + 1, slot, plan, set, []);
            }
        }

        return rows;
    }
}
