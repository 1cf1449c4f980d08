using Sals.Kernels.Cuda.Kernels.Shared;

namespace Sals.Gpu.Tests.Kernels;

/// <summary>The parts of score_select's blocks in a step of few rows, block by block: what plan_step must write and score_select reads.</summary>
internal static class ScorePartsOracle
{
    /// <param name="units">[B], 32 latent tokens each; 0 = the row needs no scores.</param>
    /// <param name="lengths">[B]</param>
    /// <param name="slots">[B]</param>
    /// <returns>[<paramref name="blocks"/>]</returns>
    public static ScorePart[] Of(int[] units, int[] lengths, int[] slots, int blocks)
    {
        // a block has at least 8 units, of long rows 16, and no more than makes the blocks suffice although the last of each row may not be full
        var (total, others) = (units.Sum(), blocks - units.Count(u => u > 0));
        var share = Math.Max(total <= 256 ? 8 : 16, (total + others - 1) / others);
        List<ScorePart> parts = [];
        for (var row = 0; row < units.Length; row++)
        {
            var (first, count, end) = (parts.Count, (units[row] + share - 1) / share, 0);
            for (var i = 0; i < count; i++)
            {
                var begin = end;
                end += (units[row] / count) + (i < units[row] % count ? 1 : 0);
                parts.Add(new ScorePart(row, slots[row], lengths[row], units[row], begin, end, first, count));
            }
        }

        return [.. parts, .. new ScorePart[blocks - parts.Count]];
    }
}
