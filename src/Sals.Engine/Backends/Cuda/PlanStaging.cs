using Sals.Engine.Paging;
using Sals.Engine.Scheduling;
using Sals.Kernels.Cuda.Kernels.FlushPages;
using Sals.Kernels.Cuda.Kernels.PlanStep;

namespace Sals.Engine.Backends.Cuda;

/// <summary>
/// Checks flushes, decode rows and prefill slices of a plan on the host and writes them into a pinned set for <see cref="StepQueue"/> to upload; moves the
/// slots' lengths on.
/// </summary>
/// <param name="layers">Of the model.</param>
/// <exception cref="InvalidOperationException">Thrown by every method for a plan that names pages which do not exist or do not hold what a row reads.</exception>
internal sealed class PlanStaging(int layers, CudaCache cache, CudaSlots slots, StepArena arena, DecodeGraphs graphs)
{
    private readonly int _sparseLayers = cache.Layout.Spec.SparseLayers.Length;

    /// <summary>A row of no slot.</summary>
    public StepRow Padding => new(arena.Slots, 0, -1, 0);

    /// <summary>Hot pages that become latent ones, all compressed layers.</summary>
    public void StageFlushes(StepPlan plan, StepStaging staging)
    {
        var pages = staging.Flushes.Span;
        for (var i = 0; i < plan.Flushes.Count; i++)
        {
            var flush = plan.Flushes[i];
            cache.Check(PoolKind.Hot, flush.HotPage);
            cache.Check(PoolKind.Latent, flush.LatentPage);
            if ((uint)flush.Index >= (uint)cache.MaxPages)
            {
                throw new InvalidOperationException($"A flush of page {flush.Index} of slot {flush.Slot}, which has pages 0 to {cache.MaxPages - 1}.");
            }

            pages[i] = new FlushedPage((uint)flush.HotPage, (uint)flush.LatentPage, flush.Index * PageLayout.PageSize, 0);
        }
    }

    /// <summary>Decode rows, padded to the bucket with rows of no slot; returns what they are.</summary>
    public RowKinds StageDecodes(StepPlan plan, StepStaging staging)
    {
        var kinds = RowKinds.Exact;
        var rows = staging.Rows.Span;
        var count = plan.Decodes.Count;
        for (var i = 0; i < count; i++)
        {
            var row = plan.Decodes[i];
            ref var length = ref slots.Lengths[row.Slot];
            cache.RequireDecode(row.Slot, length, ref slots.LatentPages[row.Slot]);
            length++;
            var kind = RowKindsOf.Row(length, cache.Layout.Spec);
            kinds = i == 0 ? kind : kinds.And(kind);
            CountLayers(staging, i, length);
            rows[i] = new StepRow(row.Slot, row.ForcedToken, row.TargetToken, i);
            staging.Slots[staging.ResultCount++] = row.Slot;
        }

        if (count > 0)
        {
            rows[count..graphs.BucketOf(count)].Fill(Padding);
        }

        return kinds;
    }

    /// <summary>Token ids of slices that begin at the first layer, and the rows that ending prompts sample; returns the prompts that end.</summary>
    public int StagePrefills(StepPlan plan, StepStaging staging)
    {
        var finals = 0;
        foreach (ref readonly var slice in plan.Prefills.Items)
        {
            var lane = arena.Lanes[slice.Lane].Length;
            if (slice.EndToken > slice.PromptLength || slice.LaneOffset + slice.EndToken > lane)
            {
                throw new InvalidOperationException(
                    $"A slice to token {slice.EndToken} of a prompt of {slice.PromptLength} at offset {slice.LaneOffset} does not fit lane {slice.Lane} of {lane}.");
            }

            if (slice.EndToken == slice.PromptLength)
            {
                cache.RequirePrompt(slice.Slots[0], slice.HistoryLength, slice.PromptLength);
            }

            if (slice.FirstLayer == 0)
            {
                staging.Add(slice.Prompt.Span[slice.FirstToken..slice.EndToken]);
            }

            if (slice.EndLayer != layers || slice.EndToken != slice.PromptLength)
            {
                continue;
            }

            foreach (var slot in slice.Slots)
            {
                slots.Lengths[slot] = slice.PromptLength;
                if (slice.Samples)
                {
                    var row = staging.ResultCount - plan.Decodes.Count;
                    staging.Rows.Span[arena.Slots + row] = new StepRow(slot, -1, slice.TargetToken, finals);
                    staging.Slots[staging.ResultCount++] = slot;
                }
            }

            finals += slice.Samples ? 1 : 0;
        }

        return finals;
    }

    /// <summary>In how many layers the row reads latent pages, in how many by score, and how many tokens: known from its length alone.</summary>
    private void CountLayers(StepStaging staging, int row, int length)
    {
        var spec = cache.Layout.Spec;
        if (_sparseLayers > 0 && CacheTimeline.LatentPages(length, spec) > 0)
        {
            staging.SparseLayers[row] = _sparseLayers;
            staging.ScoredLayers[row] = CacheTimeline.CandidateCount(length, spec) > spec.CriticalCount(length) ? _sparseLayers : 0;
            staging.SelectedTokens[row] = _sparseLayers * CacheTimeline.SelectedCount(length, spec);
        }
    }
}
