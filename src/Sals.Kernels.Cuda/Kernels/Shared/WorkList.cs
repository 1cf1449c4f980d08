using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.Shared;

/// <summary>A piece of a row's attention.</summary>
/// <param name="Row">Of the step.</param>
/// <param name="Piece">Its number in the row.</param>
/// <param name="Length">Of the row, its own token included.</param>
/// <param name="Slot">Of the row.</param>
public readonly record struct WorkItem(int Row, int Piece, int Length, int Slot);

/// <summary>Pieces of all rows of a step, side by side, as plan_step writes them. The index of an entry is that of its partial result.</summary>
/// <param name="Entries">[Room], row by row. What lies behind the last may be read, not used: filled once before.</param>
/// <param name="Count">[1]</param>
/// <param name="First">[B], index of the row's first entry; -1 = it has none</param>
/// <param name="Room">WORK, entries at most</param>
public readonly record struct WorkList(DevicePtr<WorkItem> Entries, DevicePtr<int> Count, DevicePtr<int> First, int Room)
{
    /// <summary>Bytes in an arena for at most <paramref name="entries"/> of <paramref name="rows"/>.</summary>
    public static long Bytes(int rows, int entries) => DeviceArena.SizeOf<WorkItem>(entries) + DeviceArena.SizeOf<int>(1) + DeviceArena.SizeOf<int>(rows);

    public static WorkList Take(DeviceArena arena, CudaStream stream, int rows, int entries)
    {
        var list = new WorkList(arena.Take<WorkItem>(entries), arena.Take<int>(1), arena.Take<int>(rows), entries);
        stream.Fill(list.Entries, entries, 0);
        return list;
    }
}
