using Sals.Kernels.Cuda.Interop;

namespace Sals.Kernels.Cuda.Runtime;

/// <summary>A mark in a stream. Before it is first recorded it counts as passed.</summary>
public sealed class CudaEvent : IDisposable
{
    private const uint DisableTiming = 2;
    private nint _handle;

    /// <param name="timing">Whether <see cref="MillisecondsSince"/> will be asked; events without are cheaper.</param>
    public CudaEvent(bool timing = false) => Check.Ok(Driver.cuEventCreate(out _handle, timing ? 0 : DisableTiming));

    internal nint Handle => _handle;

    /// <summary>True when everything recorded before has finished.</summary>
    /// <exception cref="CudaException">The device faulted.</exception>
    public bool HasPassed
    {
        get
        {
            var status = Driver.cuEventQuery(_handle);
            if (status == DriverStatus.NotReady)
            {
                return false;
            }

            Check.Ok(status, "cuEventQuery");
            return true;
        }
    }

    public void Record(CudaStream stream) => Check.Ok(Driver.cuEventRecord(_handle, stream.Handle));

    /// <summary>Blocks the calling thread until the event has passed.</summary>
    public void Wait() => Check.Ok(Driver.cuEventSynchronize(_handle));

    /// <summary>Device time between two passed events.</summary>
    public double MillisecondsSince(CudaEvent start)
    {
        Check.Ok(Driver.cuEventElapsedTime(out var milliseconds, start._handle, _handle));
        return milliseconds;
    }

    public void Dispose()
    {
        if (_handle != 0)
        {
            _ = Driver.cuEventDestroy(_handle);
            _handle = 0;
        }
    }
}
