using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.DenseAttend;

/// <summary>Launcher of dense_attend.cu: one query per row of a list against every cached token of its slot.</summary>
public sealed class DenseAttendKernel
{
    private const int Warps = 4;
    private const int StageTokens = 16;
    private const int MergeThreads = 64;

    private readonly Kernel _kernel;
    private readonly Kernel _merge;
    private readonly int _sharedBytes;
    private readonly int _blocks;
    private readonly int _queryHeads;
    private readonly float _scale;
    private readonly bool _int8;

    /// <param name="headSize">DH, queryHeads, keyHeads and int8 as given to <see cref="Program"/>.</param>
    /// <param name="multiprocessors">Of the device; the grid fills it once.</param>
    public DenseAttendKernel(KernelModule module, int headSize, int queryHeads, int keyHeads, int multiprocessors, bool int8 = false)
    {
        _kernel = module.Get("dense_attend");
        _merge = module.Get("merge_runs");
        (_queryHeads, _int8) = (queryHeads, int8);

        // as in the source: stages of a warp; its result, head by head, with (m, l); tasks of 8 items
        var small = _kernel.ComputeCapability is 86 or 89;
        var stages = int8 ? small ? 4 : 5 : small ? 2 : 3;
        var stageBytes = 2 * StageTokens * (int8 ? headSize + sizeof(ushort) : headSize * sizeof(ushort));
        _sharedBytes = Warps * ((stages * stageBytes) + (queryHeads / keyHeads * (headSize + 10) * sizeof(float)) + (8 * 16));
        _kernel.AllowShared(_sharedBytes);
        _blocks = multiprocessors * Math.Max(1, _kernel.BlocksPerMultiprocessor(Warps * 32, _sharedBytes));

        // softmax runs in base 2; a code is worth a 127th of its peak
        _scale = (float)(Math.Log2(Math.E) / Math.Sqrt(headSize) / (int8 ? 127 : 1));
    }

    /// <param name="headSize">DH, 64 or 128.</param>
    /// <param name="queryHeads">HQ, at most 8 HK.</param>
    /// <param name="maxPages">Entries of a page table row.</param>
    /// <param name="int8">Pages hold int8 codes and their peaks.</param>
    public static KernelProgram Program(int headSize, int queryHeads, int keyHeads, int maxPages, bool int8 = false) =>
        KernelProgram.Create<Arguments>(
            "dense_attend.cu", ("DH", headSize), ("HQ", queryHeads), ("HK", keyHeads), ("MAXP", maxPages), ("KV_INT8", int8 ? 1 : 0));

    /// <param name="qkv">[B, <paramref name="stride"/>] bf16, queries [HQ, DH] after rope first</param>
    /// <param name="stride">Elements of a row of <paramref name="qkv"/>, even.</param>
    /// <param name="inputs">As plan_step left them.</param>
    /// <param name="runs">The list of <paramref name="inputs"/> that names the rows to attend; the others' results are left alone.</param>
    /// <param name="pageTable">[SLOTS + 1, MAXP]</param>
    /// <param name="pages">Cache arena.</param>
    /// <param name="layer">Where its planes lie in a page; with peaks if these hold int8 codes.</param>
    /// <param name="workspace">Sized by <see cref="Workspace.Bytes"/>.</param>
    /// <param name="o">[B, HQ, DH] bf16</param>
    /// <param name="rows">B</param>
    public void Launch(
        CudaStream stream,
        DevicePtr<ushort> qkv,
        int stride,
        StepInputs inputs,
        WorkList runs,
        DevicePtr<uint> pageTable,
        DevicePtr<byte> pages,
        PlaneOffsets layer,
        Workspace workspace,
        DevicePtr<ushort> o,
        int rows)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(layer.Peaks != 0, _int8, nameof(layer));
        var arguments = new Arguments
        {
            Qkv = qkv,
            Work = runs.Entries,
            WorkCount = runs.Count,
            RowFirst = runs.First,
            Position = inputs.Position,
            PageTable = pageTable,
            Pages = pages,
            Partial = workspace.Partial,
            PartialMl = workspace.PartialMl,
            Claimed = workspace.Claimed,
            O = o,
            LayerOffset = checked((uint)layer.Keys),
            PeakOffset = checked((uint)layer.Peaks),
            QkvStride = stride,
            Scale = _scale,
        };
        _kernel.Launch(stream, new Extent(_blocks), new Extent(Warps * 32), _sharedBytes, arguments, overlap: true);
        _merge.Launch(stream, new Extent(_queryHeads, rows), new Extent(MergeThreads), 0, arguments, overlap: true);
    }

    /// <summary>Partial results of rows longer than one run, and what blocks count while they share out the items.</summary>
    /// <param name="Partial">[WORK, HQ, DH]</param>
    /// <param name="PartialMl">[WORK, HQ, 2]</param>
    /// <param name="Claimed">[2], 0 before and after a launch</param>
    public readonly record struct Workspace(DevicePtr<float> Partial, DevicePtr<float> PartialMl, DevicePtr<uint> Claimed)
    {
        /// <summary>Bytes in an arena for at most <paramref name="work"/> entries of the work list.</summary>
        public static long Bytes(int work, int headSize, int queryHeads) =>
            DeviceArena.SizeOf<float>((long)work * queryHeads * headSize) + DeviceArena.SizeOf<float>((long)work * queryHeads * 2) + DeviceArena.SizeOf<uint>(2);

        /// <summary>Takes it from an arena and clears the counters.</summary>
        public static Workspace Take(DeviceArena arena, CudaStream stream, int work, int headSize, int queryHeads)
        {
            var workspace = new Workspace(arena.Take<float>((long)work * queryHeads * headSize), arena.Take<float>((long)work * queryHeads * 2), arena.Take<uint>(2));
            stream.Fill(workspace.Claimed, 2, 0);
            return workspace;
        }
    }

    private struct Arguments
    {
        public DevicePtr<ushort> Qkv;
        public DevicePtr<WorkItem> Work;
        public DevicePtr<int> WorkCount;
        public DevicePtr<int> RowFirst;
        public DevicePtr<int> Position;
        public DevicePtr<uint> PageTable;
        public DevicePtr<byte> Pages;
        public DevicePtr<float> Partial;
        public DevicePtr<float> PartialMl;
        public DevicePtr<uint> Claimed;
        public DevicePtr<ushort> O;
        public uint LayerOffset;
        public uint PeakOffset;
        public int QkvStride;
        public float Scale;
    }
}
