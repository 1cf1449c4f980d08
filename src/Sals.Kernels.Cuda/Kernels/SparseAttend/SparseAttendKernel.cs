using System.Runtime.CompilerServices;
using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.SparseAttend;

/// <summary>
/// Launcher of sparse_attend.cu: one query per row that has latent pages against the sinks, the selected latent tokens and the window of its slot, in one compressed layer.
/// </summary>
public sealed class SparseAttendKernel
{
    private const int FewGroups = 2;

    // a step of so few rows has hardly more tiles than there are multiprocessors: the time of one counts
    private const int FewRows = 2;
    private const int Tasks = 14;
    private const int TaskBytes = 32;
    private const int MergeThreads = 128;
    private const int Merged = 16;

    private readonly Attend _few;
    private readonly Attend _many;
    private readonly Kernel _merge;
    private readonly int _mergeSharedBytes;
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
            _turns[i] = (uint)((ulong)Math.Round(Math.ScaleB(turns - Math.Floor(turns), 32)) & uint.MaxValue);
        }

        _ropeFactor = (float)ropeFactor;
        _few = new Attend(module.Get("sparse_attend_few"), shape, FewGroups, multiprocessors);
        _many = new Attend(module.Get("sparse_attend_many"), shape, LatentKeys.Steps(shape) <= 8 ? 4 : 3, multiprocessors);
        _merge = module.Get("merge_items");
        _mergeSharedBytes = MergeGroups(shape) * (shape.HeadSize + 2) * sizeof(float);
        _merge.AllowShared(_mergeSharedBytes);
        _queryHeads = shape.QueryHeads;

        // softmax runs in base 2
        _scale = (float)(Math.Log2(Math.E) / Math.Sqrt(shape.HeadSize));
    }

    public static KernelProgram Program(LatentShape shape) =>
        KernelProgram.Create<Arguments>("sparse_attend.cu", [.. shape.Defines(), ("MERGE_GROUPS", MergeGroups(shape))]);

    /// <param name="qkv">[B, <paramref name="stride"/>] bf16, queries [HQ, DH] after rope first.</param>
    /// <param name="stride">Elements of a row of <paramref name="qkv"/>, a multiple of 8.</param>
    /// <param name="inputs">As plan_step left them: position and items.</param>
    /// <param name="hotTable">[SLOTS + 1, MAXP]</param>
    /// <param name="latentTable">[SLOTS + 1, MAXP]</param>
    /// <param name="pages">Cache arena.</param>
    /// <param name="hotOffset">Byte offset of the layer's K plane in a hot page.</param>
    /// <param name="latentOffset">Byte offset of the layer's score plane in a latent page.</param>
    /// <param name="selected">[B, YMAX], ascending; read for rows that need scores only.</param>
    /// <param name="basis">Of the layer.</param>
    /// <param name="workspace">For as many items as the list may hold.</param>
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
        DevicePtr<SelectedToken> selected,
        in DeviceBasis basis,
        Workspace workspace,
        DevicePtr<ushort> o,
        int rows)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(stride % 8, 0, nameof(stride));
        var arguments = new Arguments
        {
            Qkv = qkv,
            Work = inputs.Items.Entries,
            WorkCount = inputs.Items.Count,
            RowFirst = inputs.Items.First,
            Position = inputs.Position,
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
            WorkRoom = inputs.Items.Room,
            Scale = _scale,
            KeyScale = basis.KeyScale,
            RopeFactor = _ropeFactor,
            Turns = _turns,
        };
        (rows <= FewRows ? _few : _many).Launch(stream, arguments);
        _merge.Launch(stream, new Extent(_queryHeads, rows), new Extent(MergeThreads), _mergeSharedBytes, arguments, overlap: true);
    }

    private static int MergeGroups(LatentShape shape) => (AttendItems.Most(shape, shape.MaxPages * 64) + Merged - 1) / Merged;

    /// <summary>Warpgroups of a block and the shared memory that they ask for, as the source computes them.</summary>
    /// <param name="computeCapability">10 * major + minor.</param>
    internal static (int Groups, int Bytes) SharedOf(LatentShape shape, int computeCapability, int mostGroups)
    {
        int room = LatentKeys.MostShared(computeCapability) - 1024, heads = shape.QueryHeads / shape.KeyHeads;
        var parts = 4 * heads * (((shape.HeadSize + 4) * sizeof(float)) + 8);
        var group = LatentKeys.RingBytes(shape, computeCapability) + ((parts + 127) / 128 * 128) + (Tasks * ((AttendItems.Tile * 8) + TaskBytes));
        var basis = LatentKeys.BasisBytes(shape);
        var held = basis + group <= room ? basis : 0;
        var groups = Math.Min(computeCapability >= 90 && held > 0 ? mostGroups : FewGroups, (room - held) / group);
        return (groups, held + (groups * group));
    }

    /// <summary>Results of the items of rows that have several. One serves all layers.</summary>
    /// <param name="Partial">[ITEMS, HQ, DH]</param>
    /// <param name="PartialMl">[ITEMS, HQ, 2]</param>
    public readonly record struct Workspace(DevicePtr<float> Partial, DevicePtr<float> PartialMl)
    {
        /// <summary>Bytes in an arena for a list of at most <paramref name="items"/>.</summary>
        public static long Bytes(LatentShape shape, int items) =>
            DeviceArena.SizeOf<float>((long)items * shape.QueryHeads * shape.HeadSize) + DeviceArena.SizeOf<float>((long)items * shape.QueryHeads * 2);

        public static Workspace Take(DeviceArena arena, LatentShape shape, int items) =>
            new(arena.Take<float>((long)items * shape.QueryHeads * shape.HeadSize), arena.Take<float>((long)items * shape.QueryHeads * 2));
    }

    private struct Arguments
    {
        public DevicePtr<ushort> Qkv;
        public DevicePtr<WorkItem> Work;
        public DevicePtr<int> WorkCount;
        public DevicePtr<int> RowFirst;
        public DevicePtr<int> Position;
        public DevicePtr<uint> HotTable;
        public DevicePtr<uint> LatentTable;
        public DevicePtr<byte> Pages;
        public DevicePtr<SelectedToken> Selected;
        public DevicePtr<byte> Basis;
        public DevicePtr<float> Bias;
        public DevicePtr<float> Partial;
        public DevicePtr<float> PartialMl;
        public DevicePtr<ushort> O;
        public uint HotOffset;
        public uint LatentOffset;
        public int QkvStride;
        public int WorkRoom;
        public float Scale;
        public float KeyScale;
        public float RopeFactor;
        public Turns Turns;
    }

    // One of the two kernels, which differ in the warpgroups of a block; a row's result is the same.
    private sealed class Attend
    {
        private readonly Kernel _kernel;
        private readonly int _threads;
        private readonly int _sharedBytes;
        private readonly int _blocks;

        public Attend(Kernel kernel, LatentShape shape, int mostGroups, int multiprocessors)
        {
            _kernel = kernel;

            (var groups, _sharedBytes) = SharedOf(shape, kernel.ComputeCapability, mostGroups);
            _threads = groups * 128;
            kernel.AllowShared(_sharedBytes);

            // a block keeps one KV head's basis
            _blocks = Math.Max(1, multiprocessors * Math.Max(1, kernel.BlocksPerMultiprocessor(_threads, _sharedBytes)) / shape.KeyHeads) * shape.KeyHeads;
        }

        public void Launch(CudaStream stream, in Arguments arguments) =>
            _kernel.Launch(stream, new Extent(_blocks), new Extent(_threads), _sharedBytes, arguments, overlap: true);
    }

    [InlineArray(64)]
    private struct Turns
    {
        private uint _first;
    }
}
