using System.Runtime.CompilerServices;
using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.SparseAttend;

/// <summary>
/// Launcher of sparse_attend.cu: one query per row against the sinks, the selected latent tokens and the window of its slot, in one compressed layer.
/// </summary>
public sealed class SparseAttendKernel
{
    private const int MostGroups = 2;
    private const int Tasks = 16;
    private const int MergeThreads = 128;
    private const int Merged = 16;

    private readonly Kernel _attend;
    private readonly Kernel _merge;
    private readonly int _groups;
    private readonly int _sharedBytes;
    private readonly int _mergeSharedBytes;
    private readonly int _blocks;
    private readonly int _queryHeads;
    private readonly float _scale;
    private readonly float _ropeFactor;
    private readonly Turns _turns;

    /// <param name="multiprocessors">Of the device; the grid fills it once.</param>
    /// <param name="inverseFrequencies">[DH/2], radians per position of each rotary pair: the kernel computes sines and cosines itself.</param>
    /// <param name="ropeFactor">Multiplied into both; 1 but for yarn.</param>
    public SparseAttendKernel(KernelModule module, LatentShape shape, int multiprocessors, ReadOnlySpan<double> inverseFrequencies, double ropeFactor)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(inverseFrequencies.Length, shape.HeadSize / 2);
        for (var i = 0; i < inverseFrequencies.Length; i++)
        {
            // whole turns do not count
            var turns = inverseFrequencies[i] / Math.Tau;
            _turns[i] = (ulong)Math.ScaleB(turns - Math.Floor(turns), 64);
        }

        _ropeFactor = (float)ropeFactor;
        _attend = module.Get("sparse_attend");
        _merge = module.Get("merge_items");
        (_groups, _sharedBytes) = Groups(shape, _attend.ComputeCapability);
        _attend.AllowShared(_sharedBytes);
        _mergeSharedBytes = MergeGroups(shape) * (shape.HeadSize + 2) * sizeof(float);
        _merge.AllowShared(_mergeSharedBytes);
        _queryHeads = shape.QueryHeads;

        // a block keeps one KV head's basis
        _blocks = Math.Max(1, multiprocessors * Math.Max(1, _attend.BlocksPerMultiprocessor(_groups * 128, _sharedBytes)) / shape.KeyHeads) * shape.KeyHeads;

        // softmax runs in base 2
        _scale = (float)(Math.Log2(Math.E) / Math.Sqrt(shape.HeadSize));
    }

    public static KernelProgram Program(LatentShape shape) =>
        KernelProgram.Create<Arguments>("sparse_attend.cu", [.. shape.Defines(), ("MERGE_GROUPS", MergeGroups(shape))]);

    /// <param name="qkv">[B, <paramref name="stride"/>] bf16, queries [HQ, DH] after rope first.</param>
    /// <param name="stride">Elements of a row of <paramref name="qkv"/>, a multiple of 8.</param>
    /// <param name="inputs">As plan_step left them: position, slot and the attend list.</param>
    /// <param name="hotTable">[SLOTS + 1, MAXP]</param>
    /// <param name="latentTable">[SLOTS + 1, MAXP]</param>
    /// <param name="pages">Cache arena.</param>
    /// <param name="hotOffset">Byte offset of the layer's K plane in a hot page.</param>
    /// <param name="latentOffset">Byte offset of the layer's score plane in a latent page.</param>
    /// <param name="selected">[B, YMAX], positions ascending; read for rows that need scores only.</param>
    /// <param name="basis">Of the layer.</param>
    /// <param name="workspace">For as many entries as the attend list may hold.</param>
    /// <param name="o">[B, HQ, DH] bf16</param>
    /// <param name="rows">B</param>
    public void Launch(
        CudaStream stream,
        DevicePtr<ushort> qkv,
        int stride,
        StepInputs inputs,
        DevicePtr<uint> hotTable,
        DevicePtr<uint> latentTable,
        DevicePtr<byte> pages,
        long hotOffset,
        long latentOffset,
        DevicePtr<int> selected,
        in DeviceBasis basis,
        Workspace workspace,
        DevicePtr<ushort> o,
        int rows)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(stride % 8, 0, nameof(stride));
        var arguments = new Arguments
        {
            Qkv = qkv,
            Work = inputs.AttendWork,
            WorkCount = inputs.AttendCount,
            RowFirst = inputs.AttendFirst,
            Position = inputs.Position,
            Slot = inputs.Slot,
            HotTable = hotTable,
            LatentTable = latentTable,
            Pages = pages,
            Selected = selected,
            Basis = basis.Image,
            Bias = basis.Bias,
            Partial = workspace.Partial,
            PartialMl = workspace.PartialMl,
            O = o,
            HotOffset = checked((uint)hotOffset),
            LatentOffset = checked((uint)latentOffset),
            QkvStride = stride,
            Scale = _scale,
            KeyScale = basis.KeyScale,
            RopeFactor = _ropeFactor,
            Turns = _turns,
        };
        _attend.Launch(stream, new Extent(_blocks), new Extent(_groups * 128), _sharedBytes, arguments, overlap: true);
        _merge.Launch(stream, new Extent(_queryHeads, rows), new Extent(MergeThreads), _mergeSharedBytes, arguments, overlap: true);
    }

    // as the source computes them
    private static (int Groups, int SharedBytes) Groups(LatentShape shape, int computeCapability)
    {
        int most = LatentKeys.MostShared(computeCapability), heads = shape.QueryHeads / shape.KeyHeads;
        var parts = 4 * heads * ((8 * ((shape.HeadSize / 8) + 4) * sizeof(float)) + 8);
        var group = LatentKeys.RingBytes(shape) + ((parts + 127) / 128 * 128) + (Tasks * ((AttendItems.Tile * 8) + 16));
        var basis = LatentKeys.BasisBytes(shape);
        var held = basis + group <= most ? basis : 0;
        var groups = Math.Min(MostGroups, (most - held) / group);
        return (groups, held + (groups * group));
    }

    private static int MergeGroups(LatentShape shape) => (AttendItems.Most(shape, shape.MaxPages * 64) + Merged - 1) / Merged;

    /// <summary>Results of the items of rows that have several. One serves all layers.</summary>
    /// <param name="Partial">[ITEMS, HQ, DH]</param>
    /// <param name="PartialMl">[ITEMS, HQ, 2]</param>
    public readonly record struct Workspace(DevicePtr<float> Partial, DevicePtr<float> PartialMl)
    {
        /// <summary>Bytes in an arena for an attend list of at most <paramref name="items"/> entries.</summary>
        public static long Bytes(LatentShape shape, int items) =>
            DeviceArena.SizeOf<float>((long)items * shape.QueryHeads * shape.HeadSize) + DeviceArena.SizeOf<float>((long)items * shape.QueryHeads * 2);

        public static Workspace Take(DeviceArena arena, LatentShape shape, int items) =>
            new(arena.Take<float>((long)items * shape.QueryHeads * shape.HeadSize), arena.Take<float>((long)items * shape.QueryHeads * 2));
    }

    private struct Arguments
    {
        public DevicePtr<ushort> Qkv;
        public DevicePtr<int> Work;
        public DevicePtr<int> WorkCount;
        public DevicePtr<int> RowFirst;
        public DevicePtr<int> Position;
        public DevicePtr<int> Slot;
        public DevicePtr<uint> HotTable;
        public DevicePtr<uint> LatentTable;
        public DevicePtr<byte> Pages;
        public DevicePtr<int> Selected;
        public DevicePtr<byte> Basis;
        public DevicePtr<float> Bias;
        public DevicePtr<float> Partial;
        public DevicePtr<float> PartialMl;
        public DevicePtr<ushort> O;
        public uint HotOffset;
        public uint LatentOffset;
        public int QkvStride;
        public float Scale;
        public float KeyScale;
        public float RopeFactor;
        public Turns Turns;
    }

    [InlineArray(64)]
    private struct Turns
    {
        private ulong _first;
    }
}
