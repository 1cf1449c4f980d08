using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.SkinnyGemm;

/// <summary>Launcher of skinny_gemm.cu: y = x W^T for at most 64 rows, reading the weights once.</summary>
public sealed class SkinnyGemmKernel
{
    /// <summary>Rows it serves; more go to cuBLASLt.</summary>
    public const int MaxRows = 64;

    private const int Warps = 8;
    private static readonly int[] RowBlocks = [1, 2, 4, 8];

    // of 16 weight rows, when there are more than 16 rows of x
    private const int WideTiles = 2;

    private readonly int _multiprocessors;

    private readonly Kernel[] _store;
    private readonly Kernel[] _add;
    private readonly Kernel[] _swiglu;
    private readonly Kernel[] _float;

    /// <param name="multiprocessors">Of the device.</param>
    public SkinnyGemmKernel(KernelModule module, int multiprocessors)
    {
        _multiprocessors = multiprocessors;
        _store = Load("store");
        _add = Load("add");
        _swiglu = Load("swiglu");
        _float = Load("float");

        Kernel[] Load(string name)
        {
            var kernels = new Kernel[RowBlocks.Length];
            for (var i = 0; i < kernels.Length; i++)
            {
                kernels[i] = module.Get($"skinny_gemm_{name}_{RowBlocks[i]}");
                kernels[i].AllowShared(Math.Max(SharedBytes(kernels[i], i), name == "add" ? Spread(kernels[i]) : 0));
            }

            return kernels;
        }
    }

    public static KernelProgram Program() => KernelProgram.Create<Arguments>("skinny_gemm.cu");

    /// <summary>Rows that x must have room for when <paramref name="rows"/> are computed; those past the end may hold anything.</summary>
    public static int PaddedRows(int rows) => 8 * RowBlocks[Variant(rows)];

    /// <summary>y = x W^T + bias.</summary>
    /// <param name="weight">[N, K] bf16</param>
    /// <param name="x">[<see cref="PaddedRows"/>, K] bf16</param>
    /// <param name="bias">[N] bf16 or null</param>
    /// <param name="y">[B, <paramref name="stride"/>] bf16</param>
    /// <param name="stride">Columns of y, of which the first N are written; 0 = N.</param>
    public void LaunchStore(
        CudaStream stream, DevicePtr<ushort> weight, DevicePtr<ushort> x, DevicePtr<ushort> bias, DevicePtr<ushort> y, int n, int k, int rows, int stride = 0) =>
        Launch(_store, stream, weight, default, x, bias, y.Address, 16, n, k, rows, stride);

    /// <summary>y += x W^T + bias.</summary>
    /// <param name="spread">
    /// At most one block a multiprocessor, for a launch that begins while one ends whose blocks fill multiprocessors: its blocks would gather on those that are
    /// left first, two on one, and read weights through half of the others' paths to memory.
    /// </param>
    public void LaunchAdd(
        CudaStream stream, DevicePtr<ushort> weight, DevicePtr<ushort> x, DevicePtr<ushort> bias, DevicePtr<ushort> y, int n, int k, int rows, bool spread = false) =>
        Launch(_add, stream, weight, default, x, bias, y.Address, 16, n, k, rows, spread: spread);

    /// <summary>y = silu(x Gate^T + bias) * (x Up^T + bias).</summary>
    /// <param name="gateUp">[2 F, K] bf16, gate first</param>
    /// <param name="bias">[2 F] bf16 or null</param>
    /// <param name="y">[B, F] bf16</param>
    /// <param name="f">F</param>
    public void LaunchSwiglu(
        CudaStream stream, DevicePtr<ushort> gateUp, DevicePtr<ushort> x, DevicePtr<ushort> bias, DevicePtr<ushort> y, int f, int k, int rows) =>
        Launch(_swiglu, stream, gateUp, gateUp + ((long)f * k), x, bias, y.Address, 8, f, k, rows);

    /// <summary>y = x W^T in float32: logits.</summary>
    /// <param name="y">[B, N] f32</param>
    public void LaunchFloat(CudaStream stream, DevicePtr<ushort> weight, DevicePtr<ushort> x, DevicePtr<float> y, int n, int k, int rows) =>
        Launch(_float, stream, weight, default, x, default, y.Address, 16, n, k, rows);

    private static int Variant(int rows)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(rows);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(rows, MaxRows);
        return rows <= 8 ? 0 : rows <= 16 ? 1 : rows <= 32 ? 2 : 3;
    }

    /// <summary>Whether weights pass through rings in shared memory and blocks take tiles in turn.</summary>
    private static bool HasRing(Kernel kernel, int variant) => RowBlocks[variant] <= 2 || kernel.ComputeCapability >= 90;

    // half of the 228 KB of compute capability 9.0, of which each block takes 1 KB more than it asks for: two such blocks do not fit, but one and a ring of up to
    // 112 KB do. Elsewhere two rings do not fit in any case
    private static int Spread(Kernel kernel) => kernel.ComputeCapability == 90 ? 114 * 1024 : 0;

    private static int SharedBytes(Kernel kernel, int variant)
    {
        var rowBlocks = RowBlocks[variant];
        if (!HasRing(kernel, variant))
        {
            return Warps * WideTiles * rowBlocks * 128 * sizeof(float);
        }

        // as in skinny_ring.cuh: stages of 64 columns of a tile's weights and of x, then partial results
        var (stages, weightRows, partials) = rowBlocks switch
        {
            8 => (2, 32, 8),
            4 => (3, 32, 8),
            _ => ((kernel.ComputeCapability is 86 or 89 ? 4 : 5) - rowBlocks, 16, 2 * rowBlocks),
        };
        return Warps * ((stages * (weightRows + (8 * rowBlocks)) * 128) + (partials * 128 * sizeof(float)));
    }

    private void Launch(
        Kernel[] kernels,
        CudaStream stream,
        DevicePtr<ushort> weight,
        DevicePtr<ushort> up,
        DevicePtr<ushort> x,
        DevicePtr<ushort> bias,
        ulong y,
        int tileRows,
        int n,
        int k,
        int rows,
        int stride = 0,
        bool spread = false)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(n);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(k);
        ArgumentOutOfRangeException.ThrowIfNotEqual(k % 32, 0);
        var variant = Variant(rows);
        var arguments = new Arguments { Weight = weight, UpWeight = up, X = x, Bias = bias, Y = y, N = n, K = k, Rows = rows, Stride = stride == 0 ? n : stride };
        var rowsPerBlock = RowBlocks[variant] > 2 ? tileRows * WideTiles : tileRows;
        var blocks = (n + rowsPerBlock - 1) / rowsPerBlock;
        var kernel = kernels[variant];
        var shared = SharedBytes(kernel, variant);
        kernel.Launch(
            stream, new Extent(HasRing(kernel, variant) ? Math.Min(blocks, _multiprocessors) : blocks), new Extent(32 * Warps), spread ? Math.Max(shared, Spread(kernel)) : shared, arguments,
            overlap: true);
    }

    private struct Arguments
    {
        public DevicePtr<ushort> Weight;
        public DevicePtr<ushort> UpWeight;
        public DevicePtr<ushort> X;
        public DevicePtr<ushort> Bias;
        public ulong Y;
        public int N;
        public int K;
        public int Rows;
        public int Stride;
    }
}
