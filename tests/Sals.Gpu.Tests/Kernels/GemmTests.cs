using Sals.Kernels.Cuda.Gemm;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Kernels;

public class GemmTests
{
    [GpuTheory]
    [InlineData(1024, 512, 352)]
    [InlineData(128, 1000, 1376)]
    public void Product_with_bias_matches_reference(int rows, int n, int k)
    {
        using var gpu = Gpu.Open();
        var inputs = new Inputs();
        float[] weight = inputs.Normal(n * k, 1 / MathF.Sqrt(k)), x = inputs.Normal(rows * k), bias = inputs.Normal(n);
        var gemm = Make(gpu);
        var y = gpu.Poisoned<ushort>(rows * n);
        var (w, input) = (gpu.Upload<ushort>(Bf16.Narrow(weight)), gpu.Upload<ushort>(Bf16.Narrow(x)));
        gemm.Run(gpu.Stream, w, input, gpu.Upload<ushort>(Bf16.Narrow(bias)), y, n, k, rows);
        var expected = new float[rows * n];
        Parallel.For(0, rows, b =>
        {
            for (var i = 0; i < n; i++)
            {
                double sum = bias[i];
                for (var j = 0; j < k; j++)
                {
                    sum += (double)x[(b * k) + j] * weight[(i * k) + j];
                }

                expected[(b * n) + i] = (float)sum;
            }
        });
        Close.To(expected, gpu.DownloadBf16(y, rows * n), 1e-4, 1 / 250.0, $"{inputs}");

        // once more on top, without the bias
        gemm.Run(gpu.Stream, w, input, default, y, n, k, rows, add: true);
        for (var i = 0; i < expected.Length; i++)
        {
            expected[i] = (2 * expected[i]) - bias[i % n];
        }

        Close.To(expected, gpu.DownloadBf16(y, rows * n), 2e-2, 1 / 100.0, $"added, {inputs}");
    }

    [GpuFact]
    public void Row_is_the_same_bits_for_any_number_of_rows()
    {
        const int n = 768, k = 1024;
        using var gpu = Gpu.Open();
        var inputs = new Inputs();
        var gemm = Make(gpu);
        var weight = gpu.Upload<ushort>(Bf16.Narrow(inputs.Normal(n * k, 1 / MathF.Sqrt(k))));
        var x = gpu.Upload<ushort>(Bf16.Narrow(inputs.Normal(1024 * k)));
        float[]? all = null;
        foreach (var rows in (int[])[1024, 512, 256, 128, 64])
        {
            var y = gpu.Poisoned<float>(rows * n);
            gemm.RunFloat(gpu.Stream, weight, x, y, n, k, rows);
            var actual = gpu.Download(y, rows * n);
            all ??= actual;
            Close.Exactly(all.AsSpan(0, rows * n), actual, $"{rows} rows, {inputs}");
        }
    }

    private static Gemm Make(Gpu.Scope gpu) =>
        new(gpu.Own(new GemmPlanCache(1024)), gpu.Arena(GemmPlanCache.WorkspaceBytes).Take<byte>(GemmPlanCache.WorkspaceBytes));
}
