using System.Runtime.CompilerServices;
using Sals.Kernels.Cuda.Interop;

namespace Sals.Kernels.Cuda.Runtime;

/// <summary>A queue of device work, in order. Used by the thread that owns the context.</summary>
public sealed unsafe class CudaStream : IDisposable
{
    private const uint NonBlocking = 1;
    private const int ThreadLocalCapture = 1;
    private nint _handle;

    public CudaStream() => Check.Ok(Driver.cuStreamCreate(out _handle, NonBlocking));

    internal nint Handle => _handle;

    /// <summary>
    /// For measurements: asked before every launch with the entry's name ("cublaslt N x K" for library products); a launch for which it says no is left
    /// out. Null = everything runs.
    /// </summary>
    public Func<string, bool>? Filter { get; set; }

    /// <summary>Copies to the device. From pageable memory the call returns when the source may be reused; from pinned memory at once.</summary>
    public void Upload<T>(ReadOnlySpan<T> source, DevicePtr<T> destination)
        where T : unmanaged
    {
        if (source.Length == 0)
        {
            return;
        }

        fixed (T* from = source)
        {
            Check.Ok(Driver.cuMemcpyHtoDAsync(destination.Address, from, Bytes<T>(source.Length), _handle));
        }
    }

    /// <summary>Copies the first <paramref name="length"/> elements of pinned memory; its writer waits for an event recorded after this.</summary>
    public void Upload<T>(PinnedBuffer<T> source, DevicePtr<T> destination, int length)
        where T : unmanaged => Upload<T>(source.Span[..length], destination);

    /// <summary>Enqueues a copy into pinned memory, to be read after an event recorded behind it.</summary>
    public void Download<T>(DevicePtr<T> source, PinnedBuffer<T> destination, int length)
        where T : unmanaged => Download(source, destination, 0, length);

    /// <summary>Enqueues a copy into elements [first, first + length) of pinned memory.</summary>
    public void Download<T>(DevicePtr<T> source, PinnedBuffer<T> destination, int first, int length)
        where T : unmanaged
    {
        if (length == 0)
        {
            return;
        }

        fixed (T* to = destination.Span.Slice(first, length))
        {
            Check.Ok(Driver.cuMemcpyDtoHAsync(to, source.Address, Bytes<T>(length), _handle));
        }
    }

    /// <summary>Copies into ordinary memory and waits for it. Not for the step path.</summary>
    public void DownloadNow<T>(DevicePtr<T> source, Span<T> destination)
        where T : unmanaged
    {
        if (destination.Length == 0)
        {
            return;
        }

        fixed (T* to = destination)
        {
            Check.Ok(Driver.cuMemcpyDtoHAsync(to, source.Address, Bytes<T>(destination.Length), _handle));
            Synchronize();
        }
    }

    public void Copy<T>(DevicePtr<T> source, DevicePtr<T> destination, long length)
        where T : unmanaged => Check.Ok(Driver.cuMemcpyDtoDAsync(destination.Address, source.Address, Bytes<T>(length), _handle));

    /// <summary>Sets every byte of <paramref name="length"/> elements.</summary>
    public void Fill<T>(DevicePtr<T> destination, long length, byte value)
        where T : unmanaged => Check.Ok(Driver.cuMemsetD8Async(destination.Address, value, Bytes<T>(length), _handle));

    /// <summary>Later work of this stream waits for <paramref name="passed"/>; the host does not.</summary>
    public void Wait(CudaEvent passed) => Check.Ok(Driver.cuStreamWaitEvent(_handle, passed.Handle, 0));

    /// <summary>Blocks the calling thread until the stream is empty.</summary>
    /// <exception cref="CudaException">A kernel faulted.</exception>
    public void Synchronize() => Check.Ok(Driver.cuStreamSynchronize(_handle));

    /// <summary>Records what <paramref name="work"/> enqueues instead of running it. Nothing in it may allocate, wait or copy from pageable memory.</summary>
    public CudaGraph Capture(Action work)
    {
        Check.Ok(Driver.cuStreamBeginCapture(_handle, ThreadLocalCapture));
        nint graph = 0;
        try
        {
            work();
        }
        finally
        {
            // also after an exception, or the stream stays in capture; that exception is the one worth reporting
            _ = Driver.cuStreamEndCapture(_handle, out graph);
        }

        return graph != 0
            ? new CudaGraph(graph, this)
            : throw new CudaException("The captured work broke the capture: it waited, allocated, or used another stream.");
    }

    public void Dispose()
    {
        if (_handle != 0)
        {
            _ = Driver.cuStreamDestroy(_handle);
            _handle = 0;
        }
    }

    private static nuint Bytes<T>(long length)
        where T : unmanaged => (nuint)(length * Unsafe.SizeOf<T>());
}
