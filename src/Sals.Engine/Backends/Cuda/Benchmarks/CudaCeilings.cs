using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Gemm;
using Sals.Kernels.Cuda.Kernels.Ceiling;
using Sals.Kernels.Cuda.Kernels.RandomFill;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda.Benchmarks;

/// <summary>What a GPU can do at the moment of measurement, on random data far larger than its caches.</summary>
/// <param name="ReadBytesPerSecond">Loading memory once, nothing written.</param>
/// <param name="CopyBytesPerSecond">Bytes read and written by the driver's device copy.</param>
/// <param name="MatrixFlopsPerSecond">cuBLASLt, bf16 8192 x 8192 x 8192; a multiply-add is two.</param>
/// <param name="GraphGapMicroseconds">Time from one empty kernel to the next in a graph.</param>
public sealed record CudaCeilings(double ReadBytesPerSecond, double CopyBytesPerSecond, double MatrixFlopsPerSecond, double GraphGapMicroseconds)
{
    private const long ReadBytes = 2L << 30;
    private const int MatrixSize = 8192;
    private const int Repeats = 15;

    /// <summary>Of a device by its number, with the device's description.</summary>
    /// <exception cref="CudaException">No usable GPU, or not enough of its memory.</exception>
    public static (string Device, CudaCeilings Ceilings) Measure(int ordinal, string? kernelCacheFolder)
    {
        using var device = new CudaDevice(ordinal);
        return (Describe(device), Measure(device, new KernelCache(kernelCacheFolder)));
    }

    internal static string Describe(CudaDevice device) => $"{device.Name}, {device.Architecture}, CUDA {device.DriverVersion}";

    /// <summary>Takes some 4 GiB of device memory for about a second.</summary>
    internal static CudaCeilings Measure(CudaDevice device, KernelCache kernels)
    {
        using var stream = new CudaStream();
        using var timer = new DeviceTimer(stream);
        var code = kernels.Get([CeilingKernel.Program(), RandomFillKernel.Program()], device.Architecture);
        using var ceilingModule = new KernelModule(code[0]);
        using var fillModule = new KernelModule(code[1]);
        var ceiling = new CeilingKernel(ceilingModule, device.Multiprocessors);
        var elements = (long)MatrixSize * MatrixSize;
        using var arena = new DeviceArena("ceilings", (2 * ReadBytes) + GemmPlanCache.WorkspaceBytes + 4096);
        var data = arena.Take<ushort>(ReadBytes);
        var sink = arena.Take<uint>(1);
        var workspace = arena.Take<byte>(GemmPlanCache.WorkspaceBytes);
        new RandomFillKernel(fillModule).Launch(stream, data, ReadBytes, seed: 1, tensor: 1, 1 / RandomFillKernel.Deviation);

        var read = ((int[])[2, 4, 8, 16, 32]).Min(blocks => timer.Median(Repeats, () => ceiling.LaunchRead(stream, data.As<byte>(), ReadBytes, sink, blocks)));
        var copy = timer.Median(Repeats, () => stream.Copy(data, data + (ReadBytes / 2), ReadBytes / 2));
        var gap = timer.MedianOfGraph(Repeats, 1000, () => ceiling.LaunchNothing(stream));
        using var plans = new GemmPlanCache(MatrixSize);
        plans.Add(new GemmShape(MatrixSize, MatrixSize));
        var gemm = new Gemm(plans, workspace);
        var multiply = timer.Median(Repeats, () => gemm.Run(stream, data, data + elements, default, data + (2 * elements), MatrixSize, MatrixSize, MatrixSize));
        return new CudaCeilings(ReadBytes / read * 1e3, ReadBytes * 2.0 / copy * 1e3, 2.0 * elements * MatrixSize / multiply * 1e3, gap * 1e3);
    }
}
