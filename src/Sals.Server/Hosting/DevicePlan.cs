using System.Globalization;
using Sals.Engine.Backends.Cuda;
using Sals.Engine.Models;
using Sals.Kernels.Cuda.Interop;
using Sals.Server.Options;

namespace Sals.Server.Hosting;

/// <summary>--device to a device: which GPU, or the CPU.</summary>
/// <param name="Gpu">Null = the CPU.</param>
/// <param name="Note">Why a GPU that is there is not used; null otherwise.</param>
public sealed record DevicePlan(DeviceProbe? Gpu, string? Note = null)
{
    /// <param name="probe">Asked unless --device is cpu.</param>
    /// <exception cref="SettingException">--device cuda without a usable GPU, or a setting or model that the GPU does not serve.</exception>
    public static DevicePlan For(SalsOptions options, ModelConfig config, Func<CudaProbe> probe)
    {
        if (options.Device == DeviceChoice.Cpu)
        {
            return new DevicePlan(Gpu: null);
        }

        var asked = options.Device == DeviceChoice.Cuda;
        var found = probe();
        var gpu = found.Usable ? found.Devices.First(device => device.Problem is null) : null;
        if (gpu is null)
        {
            // a machine with a driver was meant to use it
            return asked ? throw new SettingException($"--device cuda: {Missing(found)}")
                : new DevicePlan(Gpu: null, found.Libraries[0].Path is null ? null : $"Device: cpu although there is a GPU driver. {Missing(found)}");
        }

        var unsupported = CudaBackend.Unsupported(config)
            ?? (options.Dtype == DataType.Float32 ? "--dtype: expected auto or bfloat16 on the GPU, found 'float32'." : null)
            ?? (options.MaxSequences > CudaBackend.MaxSlots
                ? string.Create(CultureInfo.InvariantCulture, $"--max-num-seqs: expected at most {CudaBackend.MaxSlots} on the GPU, found {options.MaxSequences}.")
                : null);
        if (unsupported is not null)
        {
            return asked ? throw new SettingException($"--device cuda: {unsupported}") : new DevicePlan(Gpu: null, $"Device: cpu although there is a GPU ({gpu.Name}). {unsupported}");
        }

        return new DevicePlan(gpu);
    }

    internal static string Missing(CudaProbe probe) =>
        probe.Libraries.FirstOrDefault(library => library.Problem is not null)?.Problem
        ?? probe.Problem
        ?? string.Join(' ', probe.Devices.Select(device => $"GPU {device.Ordinal} ({device.Name}): {device.Problem}"));
}
