using Sals.Kernels.Cuda.Interop;

namespace Sals.Kernels.Cuda.Runtime;

/// <summary>A GPU and its primary context, current on the thread that opened it until disposed.</summary>
public sealed class CudaDevice : IDisposable
{
    private readonly int _device;
    private readonly nint _context;
    private bool _disposed;

    /// <exception cref="CudaException">No driver, driver too old, no such device or one that is too old: says which.</exception>
    public CudaDevice(int ordinal)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(ordinal);
        var probe = NativeLibraries.Probe();
        var driver = probe.Libraries[0];
        if ((driver.Problem ?? probe.Problem) is { } problem)
        {
            throw new CudaException(problem);
        }

        if (ordinal >= probe.Devices.Count)
        {
            throw new CudaException($"Device {ordinal} was asked for; this machine has {probe.Devices.Count} (numbered from 0).");
        }

        if (probe.Devices[ordinal].Problem is { } tooOld)
        {
            throw new CudaException($"Device {ordinal} ({probe.Devices[ordinal].Name}): {tooOld}");
        }

        Ordinal = ordinal;
        Name = probe.Devices[ordinal].Name;
        MemoryBytes = probe.Devices[ordinal].MemoryBytes;
        Multiprocessors = probe.Devices[ordinal].Multiprocessors;
        Architecture = probe.Devices[ordinal].Architecture;
        DriverVersion = driver.Version!;
        Check.Ok(Driver.cuDeviceGet(out _device, ordinal));
        L2CacheBytes = Read(DeviceAttribute.L2CacheBytes);
        MaxSharedBytes = Read(DeviceAttribute.MaxSharedBytesPerBlockOptIn);
        Check.Ok(Driver.cuDevicePrimaryCtxRetain(out _context, _device));
        MakeCurrent();
    }

    public int Ordinal { get; }

    public string Name { get; }

    /// <summary>Such as "sm_90".</summary>
    public string Architecture { get; }

    /// <summary>CUDA version of the driver, such as "13.0".</summary>
    public string DriverVersion { get; }

    public long MemoryBytes { get; }

    public int Multiprocessors { get; }

    public int L2CacheBytes { get; }

    /// <summary>Most shared memory a block may ask for.</summary>
    public int MaxSharedBytes { get; }

    /// <summary>Device memory not yet allocated by anybody.</summary>
    public long FreeBytes
    {
        get
        {
            ObjectDisposedException.ThrowIf(_disposed, this);
            Check.Ok(Driver.cuMemGetInfo(out var free, out _));
            return (long)free;
        }
    }

    /// <summary>Binds the context to the calling thread.</summary>
    public void MakeCurrent() => Check.Ok(Driver.cuCtxSetCurrent(_context));

    /// <summary>Blocks until the device is idle.</summary>
    public void Synchronize()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        Check.Ok(Driver.cuCtxSynchronize());
    }

    public void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            _ = Driver.cuDevicePrimaryCtxRelease(_device);
        }
    }

    private int Read(DeviceAttribute attribute)
    {
        Check.Ok(Driver.cuDeviceGetAttribute(out var value, attribute, _device));
        return value;
    }
}
