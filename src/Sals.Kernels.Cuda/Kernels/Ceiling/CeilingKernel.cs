using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.Ceiling;

/// <summary>Launcher of ceiling.cu: what figures are given as shares of.</summary>
public sealed class CeilingKernel(KernelModule module, int multiprocessors)
{
    private readonly Kernel _read = module.Get("read_memory");
    private readonly Kernel _nothing = module.Get("nothing");

    public static KernelProgram Program() => KernelProgram.Create<Arguments>("ceiling.cu");

    /// <param name="x">[bytes], 16-byte aligned; whole 16 bytes are read</param>
    /// <param name="sink">[1]</param>
    /// <param name="blocks">Of 256 threads, on each multiprocessor: which is fastest depends on the device.</param>
    public void LaunchRead(CudaStream stream, DevicePtr<byte> x, long bytes, DevicePtr<uint> sink, int blocks)
    {
        var arguments = new Arguments { X = x, Sink = sink, Count = bytes / 16 };
        _read.Launch(stream, new Extent(blocks * multiprocessors), new Extent(256), 0, arguments);
    }

    public void LaunchNothing(CudaStream stream) => _nothing.Launch(stream, new Extent(1), new Extent(32), 0, default(Arguments));

    private struct Arguments
    {
        public DevicePtr<byte> X;
        public DevicePtr<uint> Sink;
        public long Count;
    }
}
