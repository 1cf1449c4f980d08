using Sals.Kernels.Cuda.Kernels.SkinnyGemm;
using Sals.Kernels.Cuda.Runtime;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Kernels;

public class SkinnyGemmKernelTests
{
    [GpuTheory]
    [InlineData(1, 16, 32)]
    [InlineData(1, 4096, 4096)]
    [InlineData(8, 1003, 352)]
    [InlineData(9, 96, 1376)]
    [InlineData(16, 512, 128)]
    [InlineData(17, 1003, 1024)]
    [InlineData(32, 160, 4096)]
    [InlineData(33, 40, 2080)]
    [InlineData(48, 1003, 352)]
    [InlineData(63, 4500, 160)]
    [InlineData(64, 1003, 1376)]
    [InlineData(64, 4500, 352)]
    public void Store_matches_reference(int rows, int n, int k)
    {
        using var gpu = Gpu.Open();
        var test = new Case(gpu, rows, n, k);
        var y = gpu.Poisoned<ushort>(rows * n);
        test.Kernel.LaunchStore(gpu.Stream, test.Weight, test.X, test.Bias, y, n, k, rows);
        var (expected, bound) = test.Expected(withBias: true);
        test.Check(expected, bound, gpu.DownloadBf16(y, rows * n));
    }

    [GpuTheory]
    [InlineData(3, 1003, 352)]
    [InlineData(33, 1003, 352)]
    [InlineData(40, 512, 1376)]
    [InlineData(48, 24, 2080)]
    [InlineData(63, 1003, 1024)]
    [InlineData(64, 4500, 352)]
    public void Float_result_matches_reference(int rows, int n, int k)
    {
        using var gpu = Gpu.Open();
        var test = new Case(gpu, rows, n, k);
        var y = gpu.Poisoned<float>(rows * n);
        test.Kernel.LaunchFloat(gpu.Stream, test.Weight, test.X, y, n, k, rows);
        var (expected, _) = test.Expected(withBias: false);
        Close.To(expected, gpu.Download(y, rows * n), 1e-4 * Math.Sqrt(k), 1e-5, $"{test.Inputs}");
    }

    [GpuTheory]
    [InlineData(5, 1003, 352)]
    [InlineData(33, 40, 2080)]
    [InlineData(48, 1003, 352)]
    [InlineData(63, 4500, 160)]
    [InlineData(64, 512, 1376)]
    public void Add_adds_to_what_is_there(int rows, int n, int k)
    {
        using var gpu = Gpu.Open();
        var test = new Case(gpu, rows, n, k);
        var before = test.Inputs.Normal(rows * n);
        var y = gpu.Upload<ushort>(Bf16.Narrow(before));
        test.Kernel.LaunchAdd(gpu.Stream, test.Weight, test.X, test.Bias, y, n, k, rows);
        var (expected, bound) = test.Expected(withBias: true);
        for (var i = 0; i < expected.Length; i++)
        {
            expected[i] += before[i];
        }

        test.Check(expected, bound, gpu.DownloadBf16(y, rows * n));
    }

    [GpuTheory]
    [InlineData(1, 1000, 352)]
    [InlineData(12, 40, 1024)]
    [InlineData(33, 1000, 352)]
    [InlineData(48, 40, 2080)]
    [InlineData(63, 2500, 160)]
    [InlineData(64, 1376, 512)]
    public void Swiglu_matches_reference(int rows, int f, int k)
    {
        using var gpu = Gpu.Open();
        var test = new Case(gpu, rows, 2 * f, k);
        var y = gpu.Poisoned<ushort>(rows * f);
        test.Kernel.LaunchSwiglu(gpu.Stream, test.Weight, test.X, test.Bias, y, f, k, rows);
        var (gateUp, _) = test.Expected(withBias: true);
        var expected = new float[rows * f];
        for (var i = 0; i < expected.Length; i++)
        {
            var (b, n) = Math.DivRem(i, f);
            double gate = gateUp[(b * 2 * f) + n], up = gateUp[(b * 2 * f) + f + n];
            expected[i] = (float)(gate / (1 + Math.Exp(-gate)) * up);
        }

        Close.To(expected, gpu.DownloadBf16(y, rows * f), 2e-4, 1 / 200.0, $"{test.Inputs}");
    }

    // enough outputs for blocks to take a second tile
    [GpuTheory]
    [InlineData("store")]
    [InlineData("add")]
    [InlineData("swiglu")]
    [InlineData("float")]
    public void Row_is_the_same_bits_in_every_batch(string epilogue)
    {
        const int n = 4503, k = 2080;
        using var gpu = Gpu.Open();
        var test = new Case(gpu, 64, epilogue == "swiglu" ? 2 * n : n, k);
        var residual = Bf16.Narrow(test.Inputs.Normal(64 * n));
        var alone = new float[64 * n];
        for (var row = 0; row < 64; row++)
        {
            Run(row, 1).CopyTo(alone, row * n);
        }

        foreach (var rows in (int[])[2, 8, 9, 16, 17, 32, 33, 48, 63, 64])
        {
            Close.Exactly(alone.AsSpan(0, rows * n), Run(0, rows), $"{rows} rows, {epilogue}, {test.Inputs}");
        }

        float[] Run(int first, int rows)
        {
            // a buffer of its own: a launch of one row reads eight
            var x = gpu.Poisoned<ushort>(SkinnyGemmKernel.PaddedRows(rows) * k);
            gpu.Stream.Copy(test.X + (first * k), x, rows * k);
            if (epilogue == "float")
            {
                var logits = gpu.Poisoned<float>(rows * n);
                test.Kernel.LaunchFloat(gpu.Stream, test.Weight, x, logits, n, k, rows);
                return gpu.Download(logits, rows * n);
            }

            var y = gpu.Upload<ushort>(residual.AsSpan(first * n, rows * n));
            switch (epilogue)
            {
                case "add": test.Kernel.LaunchAdd(gpu.Stream, test.Weight, x, test.Bias, y, n, k, rows); break;
                case "swiglu": test.Kernel.LaunchSwiglu(gpu.Stream, test.Weight, x, test.Bias, y, n, k, rows); break;
                default: test.Kernel.LaunchStore(gpu.Stream, test.Weight, x, test.Bias, y, n, k, rows); break;
            }

            return gpu.DownloadBf16(y, rows * n);
        }
    }

    private sealed class Case
    {
        private readonly float[] _weight;
        private readonly float[] _x;
        private readonly float[] _bias;
        private readonly int _rows;
        private readonly int _n;
        private readonly int _k;

        public Case(Gpu.Scope gpu, int rows, int n, int k)
        {
            (_rows, _n, _k) = (rows, n, k);
            Kernel = new SkinnyGemmKernel(gpu.Load(SkinnyGemmKernel.Program()), gpu.Device.Multiprocessors);
            _weight = Inputs.Normal(n * k, 1 / MathF.Sqrt(k));
            _x = Inputs.Normal(rows * k);
            _bias = Inputs.Normal(n);
            Weight = gpu.Upload<ushort>(Bf16.Narrow(_weight));
            Bias = gpu.Upload<ushort>(Bf16.Narrow(_bias));

            // the padding rows hold NaN, which must not leak
            X = gpu.Poisoned<ushort>(SkinnyGemmKernel.PaddedRows(rows) * k);
            gpu.Stream.Upload<ushort>(Bf16.Narrow(_x), X);
        }

        public Inputs Inputs { get; } = new();

        public SkinnyGemmKernel Kernel { get; }

        public DevicePtr<ushort> Weight { get; }

        public DevicePtr<ushort> X { get; }

        public DevicePtr<ushort> Bias { get; }

        /// <summary>The product in double, and what float accumulation may be off by.</summary>
        public (float[] Product, double Bound) Expected(bool withBias)
        {
            var product = new float[_rows * _n];
            Parallel.For(0, _n, n =>
            {
                for (var b = 0; b < _rows; b++)
                {
                    double sum = withBias ? _bias[n] : 0;
                    for (var i = 0; i < _k; i++)
                    {
                        sum += (double)_x[(b * _k) + i] * _weight[(n * _k) + i];
                    }

                    product[(b * _n) + n] = (float)sum;
                }
            });
            return (product, 1e-5 * Math.Sqrt(_k));
        }

        public void Check(float[] expected, double bound, float[] actual) => Close.To(expected, actual, bound + 1e-5, 1 / 255.0, $"{Inputs}");
    }
}
