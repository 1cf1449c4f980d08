using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Latent;
using Sals.Kernels.Cuda.Kernels.KeyCovariance;
using Xunit;

namespace Sals.Gpu.Tests.Kernels;

public class KeyCovarianceKernelTests
{
    [GpuTheory]
    [InlineData(64, 3, 1, 1, false)]
    [InlineData(64, 8, 4, 33, false)]
    [InlineData(128, 8, 2, 64, true)]
    [InlineData(128, 32, 8, 1000, false)]
    public void Sums_equal_those_of_the_double_loop(int headSize, int queryHeads, int keyHeads, int rows, bool norm)
    {
        using var gpu = Gpu.Open();
        var inputs = new Inputs();
        int width = keyHeads * headSize, stride = ((queryHeads + (2 * keyHeads)) * headSize) + 32;
        var qkv = inputs.Normal(rows * stride, 1, 0.3f);
        var gamma = inputs.Normal(headSize, 0.3f, 1);
        var kernel = new KeyCovarianceKernel(gpu.Load(KeyCovarianceKernel.Program(headSize, queryHeads, keyHeads)), keyHeads, width);
        var moment = gpu.Upload<double>(new double[width * width]);
        var sum = gpu.Upload<double>(new double[width]);
        var keys = gpu.Poisoned<ushort>(rows * width);
        var device = gpu.Upload<ushort>(Bf16.Narrow(qkv));
        var deviceGamma = norm ? gpu.Upload<ushort>(Bf16.Narrow(gamma)) : default;

        // twice: the second launch adds to the first
        kernel.Launch(gpu.Stream, device, stride, (deviceGamma, 1e-6f), keys, moment, sum, rows);
        kernel.Launch(gpu.Stream, device, stride, (deviceGamma, 1e-6f), keys, moment, sum, rows);

        var expected = new CovarianceSet(1, width);
        var key = new float[width];
        for (var b = 0; b < rows; b++)
        {
            qkv.AsSpan((b * stride) + (queryHeads * headSize), width).CopyTo(key);
            for (var head = 0; norm && head < keyHeads; head++)
            {
                var part = key.AsSpan(head * headSize, headSize);
                RmsNorm.Run(part.ToArray(), gamma, 1e-6f, part);
            }

            expected.Add(0, key);
            expected.Add(0, key);
        }

        var actual = new CovarianceSet(1, width);
        actual.AddSums(0, 2 * rows, gpu.Download(sum, width), gpu.Download(moment, width * width));

        // without a norm the keys are the same bits; with one they are rounded to bf16 once
        var tolerance = norm ? 4e-3 : 1e-5;
        var (wanted, found) = (expected.Covariance(0, centred: false), actual.Covariance(0, centred: false));
        var scale = Enumerable.Range(0, width).Max(i => wanted[(i * width) + i]);
        for (var i = 0; i < wanted.Length; i++)
        {
            Assert.True(Math.Abs(wanted[i] - found[i]) <= tolerance * scale, $"[{i / width}, {i % width}]: {found[i]}, expected {wanted[i]}; {inputs}");
        }

        var (mean, foundMean) = (expected.Mean(0), actual.Mean(0));
        for (var i = 0; i < width; i++)
        {
            Assert.True(Math.Abs(mean[i] - foundMean[i]) <= tolerance * Math.Sqrt(scale), $"mean[{i}]: {foundMean[i]}, expected {mean[i]}; {inputs}");
        }
    }
}
