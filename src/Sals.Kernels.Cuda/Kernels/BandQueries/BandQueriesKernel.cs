using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Kernels.FlushPages;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.BandQueries;

/// <summary>Launcher of band_queries.cu: a scoring query for each band of distance, from query heads after rope.</summary>
public sealed class BandQueriesKernel
{
    private const int ColumnsPerBlock = 16;
    private readonly Kernel _kernel;
    private readonly int _scoreRank;
    private readonly float _unscale;

    /// <param name="shape">With bands and int8 latents.</param>
    public BandQueriesKernel(KernelModule module, LatentShape shape)
    {
        _kernel = module.Get("band_queries");
        _scoreRank = shape.ScoreRank;
        _unscale = 1 / PackedProjection.Scale(shape.KeyWidth);
    }

    public static KernelProgram Program(LatentShape shape) => KernelProgram.Create<Arguments>("band_queries.cu", shape.Defines());

    /// <param name="qkv">[B, stride] bf16, query heads after rope first</param>
    /// <param name="stride">Elements of a row.</param>
    /// <param name="rope">[positions, DH / 2, 2], cosine and sine</param>
    /// <param name="means">[levels, DH / 2, 2], mean rotation back over the tokens of a band of each width</param>
    /// <param name="projection">What projects scoring queries, as <see cref="PackedProjection.Pack"/> made it.</param>
    /// <param name="queries">[B, BANDS, RS], receives them times the coordinates' scales</param>
    /// <param name="biases">[B, BANDS], receives what the mean key scores</param>
    public void Launch(
        CudaStream stream,
        DevicePtr<ushort> qkv,
        int stride,
        StepInputs inputs,
        DevicePtr<float> rope,
        DevicePtr<float> means,
        DevicePtr<ushort> projection,
        in DeviceBasis basis,
        DevicePtr<float> queries,
        DevicePtr<float> biases,
        int rows)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(rows);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(rows, PlanStepKernel.MaxRows);
        var arguments = new Arguments
        {
            Qkv = qkv,
            Position = inputs.Position,
            Rope = rope,
            Means = means,
            Projection = projection,
            Mean = basis.Mean,
            Scale = basis.Scale,
            Queries = queries,
            Biases = biases,
            QkvStride = stride,
            Unscale = _unscale,
        };
        _kernel.Launch(stream, new Extent(_scoreRank / ColumnsPerBlock, rows), new Extent(256), 0, arguments);
    }

    private struct Arguments
    {
        public DevicePtr<ushort> Qkv;
        public DevicePtr<int> Position;
        public DevicePtr<float> Rope;
        public DevicePtr<float> Means;
        public DevicePtr<ushort> Projection;
        public DevicePtr<float> Mean;
        public DevicePtr<float> Scale;
        public DevicePtr<float> Queries;
        public DevicePtr<float> Biases;
        public int QkvStride;
        public float Unscale;
    }
}
