using System.Runtime.CompilerServices;
using Sals.Kernels.Cuda.Interop;

namespace Sals.Kernels.Cuda.Runtime;

/// <summary>
/// Page-locked host memory that the device copies from or to without a detour. Whoever writes it first waits for the event of the
/// last copy that read it.
/// </summary>
public sealed unsafe class PinnedBuffer<T> : IDisposable
    where T : unmanaged
{
    private nint _address;

    public PinnedBuffer(int length)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(length);
        Length = length;
        Check.Ok(Driver.cuMemHostAlloc(out _address, (nuint)((long)length * Unsafe.SizeOf<T>()), 0));
        Span.Clear();
    }

    public int Length { get; }

    public Span<T> Span
    {
        get
        {
            ObjectDisposedException.ThrowIf(_address == 0, this);
            return new Span<T>((void*)_address, Length);
        }
    }

    public void Dispose()
    {
        if (_address != 0)
        {
            _ = Driver.cuMemFreeHost(_address);
            _address = 0;
        }
    }
}
