using Sals.Engine.Scheduling;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>Brings the allowed-token bitmaps of a step to the device; a step without any finds none, whatever the steps before had.</summary>
/// <param name="words">Words of a bitmap.</param>
internal sealed class MaskStaging(CudaStream stream, StepArena arena, int words)
{
    private bool _masked;

    public void Stage(StepPlan plan, StepStaging staging)
    {
        if (_masked)
        {
            stream.Fill(arena.Masks, 2L * arena.Slots, 0xFF);
            _masked = false;
        }

        if (plan.Masks.Count == 0)
        {
            return;
        }

        var masks = staging.Masks.Span;
        masks.Fill(-1);
        for (var m = 0; m < plan.Masks.Count; m++)
        {
            var mask = plan.Masks[m];
            mask.Bits.AsSpan(0, words).CopyTo(staging.Bitmaps.Span[(m * words)..]);
            for (var i = 0; i < staging.ResultCount; i++)
            {
                if (staging.Slots[i] == mask.Slot)
                {
                    masks[i < plan.Decodes.Count ? i : arena.Slots + i - plan.Decodes.Count] = m;
                }
            }
        }

        stream.Upload(staging.Masks, arena.Masks, 2 * arena.Slots);
        stream.Upload(staging.Bitmaps, arena.Bitmaps, plan.Masks.Count * words);
        _masked = true;
    }
}
