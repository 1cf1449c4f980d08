using Sals.Engine.Backends;
using Sals.Engine.Backends.Cpu;
using Sals.Engine.Backends.Cuda;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Kernels.Cuda.Compilation;

namespace Sals.Server.Hosting;

/// <summary>What runs the sequences of a calibration.</summary>
public static class CalibrationBackend
{
    /// <param name="device">Where.</param>
    /// <param name="length">Longest sequence in tokens.</param>
    public static ICalibrationBackend Open(ModelFolder model, DevicePlan device, int length) => device.Gpu is { } gpu
        ? new CudaCalibration(model.Weights, gpu.Ordinal, length, KernelCache.DefaultFolder)
        : new CpuBackend(model.Weights, new CpuBackendOptions { Slots = 1, MaxModelLength = length, CacheBytes = 1, Spec = LatentSpec.Dense(model.Config.LayerCount) });
}
