using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.ReconstructPages;

/// <summary>Launcher of reconstruct_pages.cu: a cached prefix of one compressed layer comes back into a prefill lane.</summary>
public sealed class ReconstructPagesKernel
{
    private const int Threads = 128;

    private readonly Kernel _kernel;
    private readonly int _sharedBytes;
    private readonly int _keyHeads;
    private readonly int _blocks;

    /// <param name="multiprocessors">Of the device; the grid fills it once.</param>
    public ReconstructPagesKernel(KernelModule module, LatentShape shape, int multiprocessors)
    {
        _kernel = module.Get("reconstruct_pages");
        int ring = LatentKeys.RingBytes(shape, _kernel.ComputeCapability), basis = LatentKeys.BasisBytes(shape);
        _sharedBytes = ring + (basis + ring <= LatentKeys.MostShared(_kernel.ComputeCapability) ? basis : 0);
        _kernel.AllowShared(_sharedBytes);
        _keyHeads = shape.KeyHeads;
        _blocks = Math.Max(1, multiprocessors * Math.Max(1, _kernel.BlocksPerMultiprocessor(Threads, _sharedBytes)) / _keyHeads);
    }

    public static KernelProgram Program(LatentShape shape) => KernelProgram.Create<Arguments>(
        "reconstruct_pages.cu",
        ("DH", shape.HeadSize), ("HK", shape.KeyHeads), ("R", shape.Rank), ("RS", shape.ScoreRank), ("BASIS_GROUPS", shape.BasisGroups),
        ("VALUE_BITS", shape.ValueBits), ("VALUE_GROUP", shape.ValueGroup), ("LATENT_INT8", shape.Int8 ? 1 : 0));

    /// <param name="hotTable">[MAXP], the slot's row.</param>
    /// <param name="latentTable">[MAXP], the slot's row.</param>
    /// <param name="pages">Cache arena.</param>
    /// <param name="hotOffset">Byte offset of the layer's K plane in a hot page.</param>
    /// <param name="latentOffset">Byte offset of the layer's score plane in a latent page.</param>
    /// <param name="pageCount">Pages of the prefix, from page 0; each has a hot copy or a latent one, the hot one is taken.</param>
    /// <param name="basis">Of the layer.</param>
    /// <param name="rope">[positions, DH/2, 2], (cos, sin)</param>
    /// <param name="keys">[LANE, HK, DH] bf16, rows 0 .. 64 pageCount - 1 are written</param>
    /// <param name="values">likewise</param>
    public void Launch(
        CudaStream stream,
        DevicePtr<uint> hotTable,
        DevicePtr<uint> latentTable,
        DevicePtr<byte> pages,
        long hotOffset,
        long latentOffset,
        int pageCount,
        in DeviceBasis basis,
        DevicePtr<float> rope,
        DevicePtr<ushort> keys,
        DevicePtr<ushort> values)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(pageCount);
        var arguments = new Arguments
        {
            HotTable = hotTable,
            LatentTable = latentTable,
            Pages = pages,
            Basis = basis.Image,
            Bias = basis.Bias,
            Rope = rope,
            Keys = keys,
            Values = values,
            HotOffset = checked((uint)hotOffset),
            LatentOffset = checked((uint)latentOffset),
            PageCount = pageCount,
            KeyScale = basis.KeyScale,
        };
        _kernel.Launch(stream, new Extent(Math.Min(pageCount, _blocks), _keyHeads), new Extent(Threads), _sharedBytes, arguments);
    }

    private struct Arguments
    {
        public DevicePtr<uint> HotTable;
        public DevicePtr<uint> LatentTable;
        public DevicePtr<byte> Pages;
        public DevicePtr<byte> Basis;
        public DevicePtr<float> Bias;
        public DevicePtr<float> Rope;
        public DevicePtr<ushort> Keys;
        public DevicePtr<ushort> Values;
        public uint HotOffset;
        public uint LatentOffset;
        public int PageCount;
        public float KeyScale;
    }
}
