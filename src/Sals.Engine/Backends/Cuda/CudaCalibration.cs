using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Kernels.KeyCovariance;
using Sals.Kernels.Cuda.Runtime;
using Sals.Kernels.Cuda.Solver;

namespace Sals.Engine.Backends.Cuda;

/// <summary>
/// Calibration on a GPU: a backend of one slot runs the sequences, each layer's sums stay in device memory until they are collected, and cuSOLVER finds the
/// eigenvectors where it is installed. Used by one thread.
/// </summary>
public sealed class CudaCalibration : ICalibrationBackend
{
    /// <summary>Widest keys whose eigenvectors the CPU finds in reasonable time.</summary>
    private const int HostWidth = 1024;

    private readonly ModelConfig _model;
    private readonly CudaBackend _backend;
    private readonly KernelModule _module;
    private readonly KeyCovarianceKernel _kernel;
    private readonly DeviceArena _arena;
    private readonly DevicePtr<ushort> _keys;
    private readonly DevicePtr<double>[] _moments;
    private readonly DevicePtr<double>[] _sums;
    private readonly double[] _moment;
    private readonly double[] _sum;
    private readonly Action<int, DevicePtr<ushort>, int> _add;
    private long _count;

    /// <param name="device">Number of the GPU.</param>
    /// <param name="maxLength">Longest sequence.</param>
    /// <param name="kernelCacheFolder">Where compiled kernels are kept; null = nowhere.</param>
    /// <exception cref="CudaException">No usable GPU, or not enough of its memory.</exception>
    public CudaCalibration(ModelWeights weights, int device, int maxLength, string? kernelCacheFolder)
    {
        _model = weights.Config;
        var spec = LatentSpec.Dense(_model.LayerCount);
        var pages = new PageLayout(_model, spec, ElementType.BFloat16).DensePageBytes * CudaCache.PagesOf(maxLength);
        _backend = new CudaBackend(weights, new CudaBackendOptions
        {
            Device = device,
            Slots = 1,
            MaxModelLength = maxLength,
            Spec = spec,

            // nothing is cached, but a backend holds one sequence at least
            CacheBytes = Math.Max(256L << 20, 3 * pages),
            Graphs = false,
            KernelCacheFolder = kernelCacheFolder,
        });
        try
        {
            var width = _model.KeyWidth;
            var program = KeyCovarianceKernel.Program(_model.HeadSize, _model.HeadCount, _model.KeyValueHeadCount);
            _module = new KernelModule(new KernelCache(kernelCacheFolder).Get([program], _backend.Device.Architecture)[0]);
            _kernel = new KeyCovarianceKernel(_module, _model.KeyValueHeadCount, width);
            long square = (long)width * width;
            _arena = new DeviceArena(
                "key sums",
                DeviceArena.SizeOf<ushort>((long)CudaBackend.Chunk * width) + (_model.LayerCount * (DeviceArena.SizeOf<double>(square) + DeviceArena.SizeOf<double>(width))));
            _keys = _arena.Take<ushort>((long)CudaBackend.Chunk * width);
            _moments = [.. Enumerable.Range(0, _model.LayerCount).Select(_ => _arena.Take<double>(square))];
            _sums = [.. Enumerable.Range(0, _model.LayerCount).Select(_ => _arena.Take<double>(width))];
            _moment = new double[square];
            _sum = new double[width];
            _add = Add;
            Clear();
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    public int MaxCalibrationLength => _backend.Info.LaneLengths[0];

    /// <summary>What is lost when a run is interrupted, a few seconds; collecting takes less than one.</summary>
    public int SequenceGroup => 16;

    public void AccumulateKeyCovariance(ReadOnlySpan<int> tokens, CovarianceSet keys)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(tokens.Length, MaxCalibrationLength);
        _backend.Stream.Upload(tokens, _backend.Arena.Tokens);
        _backend.Forward.ShowKeys(_backend.Arena.Tokens, tokens.Length, _add);

        // a step's launches are far ahead of the device; without this so would be the progress
        _backend.Stream.Synchronize();
        _count += tokens.Length;
    }

    public void CollectKeyCovariance(CovarianceSet keys)
    {
        for (var layer = 0; layer < _model.LayerCount; layer++)
        {
            _backend.Stream.DownloadNow(_moments[layer], _moment);
            _backend.Stream.DownloadNow(_sums[layer], _sum);
            keys.AddSums(layer, _count, _sum, _moment);
        }

        Clear();
    }

    public void AccumulateQueries(ReadOnlySpan<int> tokens, QueryMoments queries) =>
        throw new NotSupportedException("Queries are looked at on the CPU only; give --device cpu for a basis that is made for them.");

    /// <exception cref="CudaException">The matrix is too large for the CPU and cuSOLVER is not installed.</exception>
    public SymmetricEigen Decompose(double[] matrix, int size)
    {
        if (!SymmetricSolver.IsAvailable)
        {
            return size <= HostWidth ? SymmetricEigen.Of(matrix, size) : throw new CudaException(SymmetricSolver.Missing);
        }

        var values = new double[size];
        var vectors = new double[matrix.Length];
        SymmetricSolver.Solve(_backend.Stream, matrix, size, values, vectors);
        return SymmetricEigen.From(values, vectors);
    }

    public void Dispose()
    {
        _arena?.Dispose();
        _module?.Dispose();
        _backend.Dispose();
    }

    private void Add(int layer, DevicePtr<ushort> qkv, int rows) => _kernel.Launch(
        _backend.Stream, qkv, _model.QueryWidth + (2 * _model.KeyWidth), (_backend.Forward.Layer(layer).KeyNorm, _model.RmsNormEpsilon), _keys, _moments[layer], _sums[layer], rows);

    private void Clear()
    {
        _backend.Stream.Fill(_arena.Start, _arena.Bytes, 0);
        _count = 0;
    }
}
