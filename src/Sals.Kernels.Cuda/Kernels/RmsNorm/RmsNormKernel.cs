using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.RmsNorm;

/// <summary>Launcher of rms_norm.cu: y[b] = x[b] / sqrt(mean(x[b]^2) + epsilon) * gamma.</summary>
public sealed class RmsNormKernel(KernelModule module)
{
    private readonly Kernel _kernel = module.Get("rms_norm");

    /// <param name="hidden">H, a multiple of 8.</param>
    public static KernelProgram Program(int hidden) => KernelProgram.Create<Arguments>("rms_norm.cu", ("H", hidden));

    /// <param name="x">[B, H] bf16</param>
    /// <param name="gamma">[H] bf16</param>
    /// <param name="y">[B, H] bf16, may be x</param>
    public void Launch(CudaStream stream, DevicePtr<ushort> x, DevicePtr<ushort> gamma, DevicePtr<ushort> y, float epsilon, int rows)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(rows);
        var arguments = new Arguments { X = x, Gamma = gamma, Y = y, Epsilon = epsilon };
        _kernel.Launch(stream, new Extent(rows), new Extent(256), 0, arguments, overlap: true);
    }

    private struct Arguments
    {
        public DevicePtr<ushort> X;
        public DevicePtr<ushort> Gamma;
        public DevicePtr<ushort> Y;
        public float Epsilon;
    }
}
