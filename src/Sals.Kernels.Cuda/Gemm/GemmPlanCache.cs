using Sals.Kernels.Cuda.Interop;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Gemm;

/// <summary>Sizes and types that a plan is made for.</summary>
/// <param name="N">Columns of the result, rows of the weight.</param>
/// <param name="K">Columns of x and of the weight.</param>
/// <param name="FloatResult">The result is float32 (logits), else bf16.</param>
/// <param name="Bias">A bias is added.</param>
/// <param name="Stride">Elements between rows of the result; 0 = N.</param>
/// <param name="Decode">For the few rows of a decode step, where only splitting K fills the device.</param>
public readonly record struct GemmShape(int N, int K, bool FloatResult = false, bool Bias = false, int Stride = 0, bool Decode = false)
{
    /// <summary>Rows that the algorithm of a decode shape is chosen for.</summary>
    internal const int DecodeRows = 128;

    internal int RowStride => Stride == 0 ? N : Stride;
}

/// <summary>
/// The algorithm of every product, asked for once per shape before the first step and never again: the library's choice would otherwise
/// depend on the number of rows and could not be asked for while a graph is captured, and with it a row's result on how many rows there are.
/// Partial sums of K are added only for decode steps, in float32 and in order.
/// </summary>
public sealed unsafe class GemmPlanCache : IDisposable
{
    /// <summary>What NVIDIA recommends for Hopper; enough for older GPUs.</summary>
    public const long WorkspaceBytes = 32L << 20;

    // cublasLt.h
    private const int Compute32F = 68;
    private const int Real32F = 0;
    private const int Real16BF = 14;
    private const int TransposeA = 3;
    private const int Epilogue = 7;
    private const int BiasType = 26;
    private const int Transpose = 1;
    private const int EpilogueBias = 4;
    private const int MaxWorkspace = 1;
    private const int ReductionSchemes = 3;
    private const uint ReduceInFloat = 2;

    private readonly nint _handle;
    private readonly int _plannedRows;
    private readonly Dictionary<GemmShape, GemmPlan> _plans = [];
    private bool _disposed;

    /// <param name="plannedRows">Rows the algorithms are chosen for: those of a prefill chunk.</param>
    public GemmPlanCache(int plannedRows)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(plannedRows);
        _plannedRows = plannedRows;
        Check.Ok(CublasLt.cublasLtCreate(out _handle));
    }

    internal nint Handle => _handle;

    /// <summary>Plans a shape; to be called before any graph is captured.</summary>
    public void Add(GemmShape shape) => _ = Get(shape);

    internal GemmPlan Get(GemmShape shape)
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (!_plans.TryGetValue(shape, out var plan))
        {
            plan = Choose(shape);
            _plans.Add(shape, plan);
        }

        return plan;
    }

    public void Dispose()
    {
        if (_disposed)
        {
            return;
        }

        _disposed = true;
        foreach (var plan in _plans.Values)
        {
            plan.Dispose();
        }

        _ = CublasLt.cublasLtDestroy(_handle);
    }

    private GemmPlan Choose(GemmShape shape)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(shape.N);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(shape.K);
        Check.Ok(CublasLt.cublasLtMatmulDescCreate(out var description, Compute32F, Real32F));
        var transpose = Transpose;
        Check.Ok(CublasLt.cublasLtMatmulDescSetAttribute(description, TransposeA, &transpose, sizeof(int)));
        if (shape.Bias)
        {
            var epilogue = EpilogueBias;
            var type = Real16BF;
            Check.Ok(CublasLt.cublasLtMatmulDescSetAttribute(description, Epilogue, &epilogue, sizeof(int)));
            Check.Ok(CublasLt.cublasLtMatmulDescSetAttribute(description, BiasType, &type, sizeof(int)));
        }

        var rows = shape.Decode ? GemmShape.DecodeRows : _plannedRows;

        // row-major W [N, K] is column-major [K, N], transposed on use; row-major x [M, K] is [K, M]; the result [M, N] is [N, M]
        var resultType = shape.FloatResult ? Real32F : Real16BF;
        Check.Ok(CublasLt.cublasLtMatrixLayoutCreate(out var weight, Real16BF, (ulong)shape.K, (ulong)shape.N, shape.K));
        Check.Ok(CublasLt.cublasLtMatrixLayoutCreate(out var x, Real16BF, (ulong)shape.K, (ulong)rows, shape.K));
        Check.Ok(CublasLt.cublasLtMatrixLayoutCreate(out var result, resultType, (ulong)shape.N, (ulong)rows, shape.RowStride));
        Check.Ok(CublasLt.cublasLtMatmulPreferenceCreate(out var preference));
        try
        {
            var workspace = (ulong)WorkspaceBytes;
            var schemes = shape.Decode ? ReduceInFloat : 0;
            Check.Ok(CublasLt.cublasLtMatmulPreferenceSetAttribute(preference, MaxWorkspace, &workspace, sizeof(ulong)));
            Check.Ok(CublasLt.cublasLtMatmulPreferenceSetAttribute(preference, ReductionSchemes, &schemes, sizeof(uint)));
            MatmulHeuristic heuristic;
            var status = CublasLt.cublasLtMatmulAlgoGetHeuristic(
                _handle, description, weight, x, result, result, preference, 1, &heuristic, out var found);
            if (status != CublasStatus.Success || found == 0)
            {
                throw new CudaException($"cuBLASLt offers no algorithm for {rows} x {shape.N} x {shape.K} (status {(int)status}).");
            }

            return new GemmPlan(shape, description, weight, heuristic.Algorithm, resultType);
        }
        finally
        {
            _ = CublasLt.cublasLtMatmulPreferenceDestroy(preference);
            _ = CublasLt.cublasLtMatrixLayoutDestroy(x);
            _ = CublasLt.cublasLtMatrixLayoutDestroy(result);
        }
    }
}

/// <summary>A shape's algorithm, and the layouts of every number of rows it has been used with.</summary>
internal sealed class GemmPlan(GemmShape shape, nint description, nint weight, MatmulAlgorithm algorithm, int resultType) : IDisposable
{
    private const int Real16BF = 14;
    private readonly Dictionary<int, (nint X, nint Result)> _layouts = [];
    private MatmulAlgorithm _algorithm = algorithm;

    public nint Description => description;

    public nint Weight => weight;

    public ref MatmulAlgorithm Algorithm => ref _algorithm;

    public (nint X, nint Result) Layouts(int rows)
    {
        if (!_layouts.TryGetValue(rows, out var layouts))
        {
            Check.Ok(CublasLt.cublasLtMatrixLayoutCreate(out var x, Real16BF, (ulong)shape.K, (ulong)rows, shape.K));
            Check.Ok(CublasLt.cublasLtMatrixLayoutCreate(out var result, resultType, (ulong)shape.N, (ulong)rows, shape.RowStride));
            layouts = (x, result);
            _layouts.Add(rows, layouts);
        }

        return layouts;
    }

    public void Dispose()
    {
        foreach (var (x, result) in _layouts.Values)
        {
            _ = CublasLt.cublasLtMatrixLayoutDestroy(x);
            _ = CublasLt.cublasLtMatrixLayoutDestroy(result);
        }

        _ = CublasLt.cublasLtMatrixLayoutDestroy(weight);
        _ = CublasLt.cublasLtMatmulDescDestroy(description);
    }
}
