using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.SiluMul;

/// <summary>Launcher of silu_mul.cu: y = silu(gate) * up.</summary>
public sealed class SiluMulKernel
{
    private readonly Kernel _kernel;
    private readonly int _width;

    /// <param name="width">F, as given to <see cref="Program"/>.</param>
    public SiluMulKernel(KernelModule module, int width)
    {
        _kernel = module.Get("silu_mul");
        _width = width;
    }

    /// <param name="width">F, a multiple of 8.</param>
    public static KernelProgram Program(int width) => KernelProgram.Create<Arguments>("silu_mul.cu", ("F", width));

    /// <param name="gateUp">[T, 2 * F] bf16</param>
    /// <param name="y">[T, F] bf16</param>
    public void Launch(CudaStream stream, DevicePtr<ushort> gateUp, DevicePtr<ushort> y, int tokens)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(tokens);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(tokens, 65535);
        var arguments = new Arguments { GateUp = gateUp, Y = y };
        _kernel.Launch(stream, new Extent(((_width / 8) + 255) / 256, tokens), new Extent(256), 0, arguments);
    }

    private struct Arguments
    {
        public DevicePtr<ushort> GateUp;
        public DevicePtr<ushort> Y;
    }
}
