using Sals.Kernels.Cuda.Interop;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Solver;

/// <summary>Eigenvalues and eigenvectors of a symmetric matrix in double precision on the GPU (cuSOLVER's syevd). For calibration, where a wide key makes it slow on a CPU.</summary>
public static class SymmetricSolver
{
    private const int WithVectors = 1;
    private const int LowerTriangle = 0;

    /// <summary>Whether cuSOLVER is installed; it is not among the libraries that serving needs.</summary>
    public static bool IsAvailable => NativeLibraries.Find(Cusolver.Library).Handle != 0;

    /// <summary>Why it is not, and what was tried.</summary>
    public static string Missing => NativeLibraries.Find(Cusolver.Library).Explain(Cusolver.Library);

    /// <param name="matrix">[size, size], symmetric; not changed.</param>
    /// <param name="values">[size], ascending</param>
    /// <param name="vectors">[size, size], row i = unit eigenvector of value i</param>
    /// <exception cref="CudaException">Not enough device memory, or the iteration did not converge.</exception>
    public static void Solve(CudaStream stream, ReadOnlySpan<double> matrix, int size, Span<double> values, Span<double> vectors)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(size);
        ArgumentOutOfRangeException.ThrowIfNotEqual((long)matrix.Length, (long)size * size, nameof(matrix));
        ArgumentOutOfRangeException.ThrowIfNotEqual(vectors.Length, matrix.Length, nameof(vectors));
        Check.Ok(Cusolver.cusolverDnCreate(out var handle));
        try
        {
            Check.Ok(Cusolver.cusolverDnSetStream(handle, stream.Handle));
            Check.Ok(Cusolver.cusolverDnDsyevd_bufferSize(handle, WithVectors, LowerTriangle, size, 0, size, 0, out var work));
            using var arena = new DeviceArena(
                "eigenvectors", DeviceArena.SizeOf<double>(matrix.Length) + DeviceArena.SizeOf<double>(size) + DeviceArena.SizeOf<double>(work) + DeviceArena.SizeOf<int>(1));
            var a = arena.Take<double>(matrix.Length);
            var w = arena.Take<double>(size);
            var scratch = arena.Take<double>(work);
            var info = arena.Take<int>(1);
            stream.Upload(matrix, a);
            Check.Ok(Cusolver.cusolverDnDsyevd(handle, WithVectors, LowerTriangle, size, a.Address, size, w.Address, scratch.Address, work, info.Address));
            Span<int> outcome = stackalloc int[1];
            stream.DownloadNow(info, outcome);
            if (outcome[0] != 0)
            {
                throw new CudaException($"cuSOLVER found no eigenvectors of a matrix of size {size} (info {outcome[0]}).");
            }

            // columns of a column-major matrix are rows of a row-major one
            stream.DownloadNow(w, values);
            stream.DownloadNow(a, vectors);
        }
        finally
        {
            _ = Cusolver.cusolverDnDestroy(handle);
        }
    }
}
