using System.Runtime.CompilerServices;
using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Kernels.DenseAttend;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.SparseAttend;

/// <summary>
/// Launcher of sparse_attend.cu: one query per row against the sinks, the selected latent tokens and the window of its slot, in one compressed layer.
/// </summary>
public sealed class SparseAttendKernel
{
    private const int Threads = 128;
    private const int ExactStages = 2;
    private const int ExactTokens = 16;

    private readonly Kernel _kernel;
    private readonly int _sharedBytes;
    private readonly int _blocks;
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
        _kernel = module.Get("sparse_attend");
        _sharedBytes = SharedBytes(shape);
        _kernel.AllowShared(_sharedBytes);
        _blocks = multiprocessors * Math.Max(1, _kernel.BlocksPerMultiprocessor(Threads, _sharedBytes));

        // softmax runs in base 2
        _scale = (float)(Math.Log2(Math.E) / Math.Sqrt(shape.HeadSize));
    }

    public static KernelProgram Program(LatentShape shape) =>
        KernelProgram.Create<Arguments>("sparse_attend.cu", [.. shape.Defines(), ("SHARED_BYTES", SharedBytes(shape))]);

    /// <param name="qkv">[B, <paramref name="stride"/>] bf16, queries [HQ, DH] after rope first.</param>
    /// <param name="stride">Elements of a row of <paramref name="qkv"/>; even.</param>
    /// <param name="inputs">As plan_step left them: position, slot and the attend list.</param>
    /// <param name="hotTable">[SLOTS + 1, MAXP]</param>
    /// <param name="latentTable">[SLOTS + 1, MAXP]</param>
    /// <param name="pages">Cache arena.</param>
    /// <param name="hotOffset">Byte offset of the layer's K plane in a hot page.</param>
    /// <param name="latentOffset">Byte offset of the layer's score plane in a latent page.</param>
    /// <param name="selected">[B, YMAX], positions ascending; read for rows that need scores only.</param>
    /// <param name="basis">Of the layer.</param>
    /// <param name="workspace">For as many entries as the attend list may hold; its tickets 0.</param>
    /// <param name="o">[B, HQ, DH] bf16</param>
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
        DenseAttendKernel.Workspace workspace,
        DevicePtr<ushort> o)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(stride % 2, 0, nameof(stride));
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
            Reconstruct = basis.Reconstruct,
            ReconstructScale = basis.ReconstructScale,
            Mean = basis.Mean,
            Partial = workspace.Partial,
            PartialMl = workspace.PartialMl,
            RunTicket = workspace.RunTicket,
            RowTicket = workspace.RowTicket,
            O = o,
            HotOffset = checked((uint)hotOffset),
            LatentOffset = checked((uint)latentOffset),
            QkvStride = stride,
            Scale = _scale,
            RopeFactor = _ropeFactor,
            Turns = _turns,
        };
        _kernel.Launch(stream, new Extent(_blocks), new Extent(Threads), _sharedBytes, arguments);
    }

    // as the source computes it, which asserts that both agree
    private static int SharedBytes(LatentShape shape)
    {
        var rings = 4 * ExactStages * ExactTokens * shape.HeadSize * 2 * sizeof(ushort);
        int fetch = FetchBytes(shape), wide = WideBytes(shape);
        return Math.Max(rings, wide + (wide + (2 * fetch) <= 140 * 1024 ? 2 * fetch : fetch));
    }

    // latents, codes and scales of a tile
    internal static int FetchBytes(LatentShape shape) => AttendItems.Tile * (LatentStride(shape)
        + (shape.HeadSize * shape.ValueBits / 8) + 16 + (shape.ValueBits == 16 ? 0 : shape.HeadSize / shape.ValueGroup * 4));

    // int8 latents of a tile widened to bf16, where the basis stays in registers
    internal static int WideBytes(LatentShape shape) => Widened(shape) && Chunks(shape) <= 8 ? AttendItems.Tile * WholeStride(shape) : 0;

    private static bool Widened(LatentShape shape) => shape.Int8 && !shape.ReconstructInt8;

    // pieces of 64 bytes of a row of the basis
    private static int Chunks(LatentShape shape) => ((shape.Rank * (shape.ReconstructInt8 ? 1 : 2)) + 63) / 64;

    // of rows that begin in different banks
    private static int WholeStride(LatentShape shape) => (Chunks(shape) * 64) + (Chunks(shape) % 2 == 0 ? 64 : 0);

    private static int LatentStride(LatentShape shape)
    {
        var half = Chunks(shape) * 32;
        return Widened(shape) ? half + (half % 64 == 0 ? 32 : 0) : WholeStride(shape);
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
        public DevicePtr<byte> Reconstruct;
        public DevicePtr<float> ReconstructScale;
        public DevicePtr<float> Mean;
        public DevicePtr<float> Partial;
        public DevicePtr<float> PartialMl;
        public DevicePtr<int> RunTicket;
        public DevicePtr<int> RowTicket;
        public DevicePtr<ushort> O;
        public uint HotOffset;
        public uint LatentOffset;
        public int QkvStride;
        public float Scale;
        public float RopeFactor;
        public Turns Turns;
    }

    [InlineArray(64)]
    private struct Turns
    {
        private ulong _first;
    }
}
