using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.Shared;

/// <summary>What a block of score_select has of a row, in units of 32 tokens.</summary>
/// <param name="Row">Of the step.</param>
/// <param name="Slot">Of the row.</param>
/// <param name="Length">Of the row, its own token included.</param>
/// <param name="Units">Of the row.</param>
/// <param name="First">First unit of the block.</param>
/// <param name="End">Behind its last one; <paramref name="First"/> = it has none.</param>
/// <param name="Block">First block of the row.</param>
/// <param name="Blocks">Of the row.</param>
public readonly record struct ScorePart(int Row, int Slot, int Length, int Units, int First, int End, int Block, int Blocks);

/// <summary>The part of each block of score_select, the same in all layers of a step: <c>score_parts.cuh</c>. plan_step writes them for steps of few rows.</summary>
/// <param name="Entries">[Blocks]</param>
/// <param name="Blocks">Of a launch of score_select, 1..<see cref="MaxBlocks"/>: one a multiprocessor, for all must run at the same time.</param>
public readonly record struct ScoreParts(DevicePtr<ScorePart> Entries, int Blocks)
{
    public const int MaxBlocks = 192;

    private const int FewRows = 64;

    public static long Bytes => DeviceArena.SizeOf<ScorePart>(MaxBlocks);

    public static int BlocksOf(int multiprocessors) => Math.Min(multiprocessors, MaxBlocks);

    /// <param name="multiprocessors">Of the device.</param>
    public static ScoreParts Take(DeviceArena arena, CudaStream stream, int multiprocessors)
    {
        var entries = arena.Take<ScorePart>(MaxBlocks);
        stream.Fill(entries, MaxBlocks, 0);
        return new ScoreParts(entries, BlocksOf(multiprocessors));
    }

    /// <summary>Whether each of <paramref name="rows"/> rows can have blocks of its own; else a block finds its runs of rows by itself.</summary>
    public bool HaveFew(int rows) => rows <= FewRows && 2 * rows <= Blocks;
}
