using System.Runtime.CompilerServices;
using Sals.Kernels.Cuda.Interop;

namespace Sals.Kernels.Cuda.Runtime;

/// <summary>One device allocation carved into parts that live as long as it does. Nothing is ever given back singly.</summary>
public sealed class DeviceArena : IDisposable
{
    /// <summary>Every part starts at a multiple of this, as cudaMalloc's do.</summary>
    public const int Alignment = 256;

    private readonly ulong _base;
    private readonly bool _owned;
    private bool _disposed;

    /// <param name="name">What it holds, for error messages.</param>
    /// <exception cref="CudaException">Not enough device memory.</exception>
    public DeviceArena(string name, long bytes)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(bytes);
        Name = name;
        Bytes = RoundUp(bytes);
        var status = Driver.cuMemAlloc(out _base, (nuint)Bytes);
        if (status == DriverStatus.OutOfMemory)
        {
            _ = Driver.cuMemGetInfo(out var free, out _);
            throw new CudaException($"Out of device memory: {name} needs {Bytes:N0} bytes, {(ulong)free:N0} are free.", outOfMemory: true);
        }

        Check.Ok(status, $"cuMemAlloc({Bytes:N0} bytes for {name})");
        _owned = true;
    }

    // arithmetic without a device, for tests
    internal DeviceArena(string name, ulong address, long bytes)
    {
        Name = name;
        _base = address;
        Bytes = bytes;
    }

    public string Name { get; }

    public long Bytes { get; }

    public long Used { get; private set; }

    /// <summary>Start of the allocation.</summary>
    public DevicePtr<byte> Start => new(_base);

    /// <summary>Bytes that <paramref name="count"/> elements take up in an arena, alignment included.</summary>
    public static long SizeOf<T>(long count)
        where T : unmanaged => RoundUp(checked(count * Unsafe.SizeOf<T>()));

    /// <exception cref="InvalidOperationException">The part does not fit: the size was planned wrongly.</exception>
    public DevicePtr<T> Take<T>(long count)
        where T : unmanaged
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        var bytes = SizeOf<T>(count);
        if (bytes > Bytes - Used)
        {
            throw new InvalidOperationException($"{Name}: {bytes:N0} bytes asked for, {Bytes - Used:N0} of {Bytes:N0} left.");
        }

        var pointer = new DevicePtr<T>(_base + (ulong)Used);
        Used += bytes;
        return pointer;
    }

    public void Dispose()
    {
        if (_owned && !_disposed)
        {
            _ = Driver.cuMemFree(_base);
        }

        _disposed = true;
    }

    private static long RoundUp(long bytes) => checked(bytes + Alignment - 1) / Alignment * Alignment;
}
