using System.Runtime.InteropServices;

namespace Sals.Kernels.Cuda.Interop;

/// <summary>Status of a cuSOLVER call. Source: cuSOLVER documentation, cusolverStatus_t.</summary>
internal enum CusolverStatus
{
    Success = 0,
    NotInitialized = 1,
    AllocationFailed = 2,
    InvalidValue = 3,
    ArchitectureMismatch = 4,
    MappingError = 5,
    ExecutionFailed = 6,
    InternalError = 7,
}

/// <summary>The entry points of cuSOLVER that symmetric eigenvectors need, as declared in cusolverDn.h, nothing more.</summary>
internal static unsafe partial class Cusolver
{
    public const string Library = "cusolver";

    static Cusolver() => NativeLibraries.InstallResolver();

    [LibraryImport(Library)]
    public static partial CusolverStatus cusolverDnCreate(out nint handle);

    [LibraryImport(Library)]
    public static partial CusolverStatus cusolverDnDestroy(nint handle);

    [LibraryImport(Library)]
    public static partial CusolverStatus cusolverDnSetStream(nint handle, nint stream);

    [LibraryImport(Library)]
    public static partial CusolverStatus cusolverDnDsyevd_bufferSize(nint handle, int vectors, int triangle, int size, ulong matrix, int stride, ulong values, out int work);

    [LibraryImport(Library)]
    public static partial CusolverStatus cusolverDnDsyevd(
        nint handle, int vectors, int triangle, int size, ulong matrix, int stride, ulong values, ulong work, int workSize, ulong info);
}
