using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.Shared;

/// <summary>Pieces of all rows of a step, side by side, as plan_step writes them. The index of an entry is that of its partial result.</summary>
/// <param name="Entries">[WORK, 2], (row, number of its piece), row by row</param>
/// <param name="Count">[1]</param>
/// <param name="First">[B], index of the row's first entry; -1 = it has none</param>
public readonly record struct WorkList(DevicePtr<int> Entries, DevicePtr<int> Count, DevicePtr<int> First)
{
    /// <summary>Bytes in an arena for at most <paramref name="entries"/> of <paramref name="rows"/>.</summary>
    public static long Bytes(int rows, int entries) => DeviceArena.SizeOf<int>(2L * entries) + DeviceArena.SizeOf<int>(1) + DeviceArena.SizeOf<int>(rows);

    public static WorkList Take(DeviceArena arena, int rows, int entries) => new(arena.Take<int>(2L * entries), arena.Take<int>(1), arena.Take<int>(rows));
}
