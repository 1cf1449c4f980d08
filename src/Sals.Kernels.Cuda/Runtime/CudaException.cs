using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using Sals.Kernels.Cuda.Interop;

namespace Sals.Kernels.Cuda.Runtime;

/// <summary>A CUDA call failed. Except for <see cref="OutOfMemory"/> the context must be taken for lost.</summary>
public sealed class CudaException : Exception
{
    public CudaException(string message)
        : base(message)
    {
    }

    internal CudaException(string message, bool outOfMemory)
        : base(message) => OutOfMemory = outOfMemory;

    /// <summary>What is needed was found not to fit before it was asked for.</summary>
    public static CudaException TooLittleMemory(string message) => new(message, outOfMemory: true);

    /// <summary>An allocation did not fit; the context is intact.</summary>
    public bool OutOfMemory { get; }
}

/// <summary>Turns a status into an exception that carries the failing call's own text.</summary>
internal static class Check
{
    public static void Ok(DriverStatus status, [CallerArgumentExpression(nameof(status))] string call = "")
    {
        if (status != DriverStatus.Success)
        {
            Throw(status, call);
        }
    }

    public static unsafe void Ok(NvrtcStatus status, [CallerArgumentExpression(nameof(status))] string call = "")
    {
        if (status != NvrtcStatus.Success)
        {
            throw new CudaException($"{Marshal.PtrToStringUTF8((nint)Nvrtc.nvrtcGetErrorString(status))} from {call}");
        }
    }

    public static void Ok(CublasStatus status, [CallerArgumentExpression(nameof(status))] string call = "")
    {
        if (status != CublasStatus.Success)
        {
            throw new CudaException($"cuBLASLt status {(int)status} ({status}) from {call}", status == CublasStatus.AllocationFailed);
        }
    }

    public static void Ok(CusolverStatus status, [CallerArgumentExpression(nameof(status))] string call = "")
    {
        if (status != CusolverStatus.Success)
        {
            throw new CudaException($"cuSOLVER status {(int)status} ({status}) from {call}", status == CusolverStatus.AllocationFailed);
        }
    }

    private static unsafe void Throw(DriverStatus status, string call)
    {
        var text = Driver.cuGetErrorString(status, out var bytes) == DriverStatus.Success ? Marshal.PtrToStringUTF8((nint)bytes) : "unknown error";
        throw new CudaException($"{CudaProbe.Name(status)} ({(int)status}): {text}, from {call}", status == DriverStatus.OutOfMemory);
    }
}
