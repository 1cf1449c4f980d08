using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Kernels.FlushPages;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.ScoringQuery;

/// <summary>Launcher of scoring_query.cu: scoring queries of models whose query heads are normed. Runs before rope, which rotates them in place.</summary>
public sealed class ScoringQueryKernel
{
    private const int ColumnsPerBlock = 16;
    private readonly Kernel _kernel;
    private readonly int _scoreRank;
    private readonly float _unscale;

    public ScoringQueryKernel(KernelModule module, LatentShape shape)
    {
        _kernel = module.Get("scoring_query");
        _scoreRank = shape.ScoreRank;
        _unscale = 1 / PackedProjection.Scale(shape.KeyWidth);
    }

    public static KernelProgram Program(LatentShape shape) => KernelProgram.Create<Arguments>("scoring_query.cu", shape.Defines());

    /// <param name="qkv">[B, stride] bf16, queries as projected; receives the scoring query at element (HQ + 2 HK) DH</param>
    /// <param name="stride">Elements of a row.</param>
    /// <param name="gamma">[DH] bf16</param>
    /// <param name="projection">The layer's, as <see cref="PackedProjection.Pack"/> made it.</param>
    public void Launch(CudaStream stream, DevicePtr<ushort> qkv, int stride, DevicePtr<ushort> gamma, float epsilon, DevicePtr<ushort> projection, int rows)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(rows);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(rows, 65535);
        var arguments = new Arguments { Qkv = qkv, Gamma = gamma, Projection = projection, QkvStride = stride, Epsilon = epsilon, Unscale = _unscale };
        _kernel.Launch(stream, new Extent(_scoreRank / ColumnsPerBlock, rows), new Extent(256), 0, arguments);
    }

    private struct Arguments
    {
        public DevicePtr<ushort> Qkv;
        public DevicePtr<ushort> Gamma;
        public DevicePtr<ushort> Projection;
        public int QkvStride;
        public float Epsilon;
        public float Unscale;
    }
}
