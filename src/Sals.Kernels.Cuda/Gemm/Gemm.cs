using Sals.Kernels.Cuda.Interop;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Gemm;

/// <summary>y = x W^T through cuBLASLt, for more rows than <c>skinny_gemm</c> serves. f32 accumulation.</summary>
public sealed unsafe class Gemm
{
    private const int BiasPointer = 8;
    private readonly GemmPlanCache _plans;
    private readonly DevicePtr<byte> _workspace;

    /// <param name="workspace">[<see cref="GemmPlanCache.WorkspaceBytes"/>], used by one stream</param>
    public Gemm(GemmPlanCache plans, DevicePtr<byte> workspace)
    {
        _plans = plans;
        _workspace = workspace;
    }

    /// <summary>y = x W^T + bias, or y += x W^T (no bias) when <paramref name="add"/>.</summary>
    /// <param name="weight">[N, K] bf16</param>
    /// <param name="x">[M, K] bf16</param>
    /// <param name="bias">[N] bf16 or null</param>
    /// <param name="y">[M, stride] bf16</param>
    /// <param name="stride">Elements between rows of y; 0 = N.</param>
    /// <param name="decode">With the plan for few rows.</param>
    public void Run(
        CudaStream stream, DevicePtr<ushort> weight, DevicePtr<ushort> x, DevicePtr<ushort> bias, DevicePtr<ushort> y, int n, int k, int rows, bool add = false, int stride = 0,
        bool decode = false) =>
        Run(stream, new GemmShape(n, k, Bias: !bias.IsNull, Stride: stride == n ? 0 : stride, Decode: decode), weight, x, bias, y.Address, rows, add);

    /// <summary>y = x W^T in float32.</summary>
    /// <param name="y">[M, N] f32</param>
    public void RunFloat(CudaStream stream, DevicePtr<ushort> weight, DevicePtr<ushort> x, DevicePtr<float> y, int n, int k, int rows) =>
        Run(stream, new GemmShape(n, k, FloatResult: true), weight, x, default, y.Address, rows, add: false);

    private void Run(
        CudaStream stream, GemmShape shape, DevicePtr<ushort> weight, DevicePtr<ushort> x, DevicePtr<ushort> bias, ulong y, int rows, bool add)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(rows);
        if (stream.Filter is { } filter && !filter($"cublaslt {shape.N} x {shape.K}"))
        {
            return;
        }

        var plan = _plans.Get(shape);
        if (shape.Bias)
        {
            var address = bias.Address;
            Check.Ok(CublasLt.cublasLtMatmulDescSetAttribute(plan.Description, BiasPointer, &address, sizeof(ulong)));
        }

        var (xLayout, resultLayout) = plan.Layouts(rows);
        var alpha = 1f;
        var beta = add ? 1f : 0f;
        fixed (MatmulAlgorithm* algorithm = &plan.Algorithm)
        {
            var status = CublasLt.cublasLtMatmul(
                _plans.Handle, plan.Description, &alpha, weight.Address, plan.Weight, x.Address, xLayout, &beta, y, resultLayout, y, resultLayout,
                algorithm, _workspace.Address, (nuint)GemmPlanCache.WorkspaceBytes, stream.Handle);
            if (status != CublasStatus.Success)
            {
                Check.Ok(status, $"cublasLtMatmul({rows} x {shape.N} x {shape.K})");
            }
        }
    }
}
