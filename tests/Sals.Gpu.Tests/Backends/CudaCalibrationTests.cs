using Sals.Engine.Backends.Cpu;
using Sals.Engine.Backends.Cuda;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Kernels.Cuda.Solver;
using Xunit;

namespace Sals.Gpu.Tests.Backends;

public class CudaCalibrationTests
{
    [GpuTheory]
    [MemberData(nameof(GoldenTextTests.Checkpoints), MemberType = typeof(GoldenTextTests))]
    public void Key_statistics_are_those_of_the_cpu_but_for_bf16(string name)
    {
        using var model = ModelFolder.Open(Path.Combine(GoldenTextTests.Root(), "tests", "golden", "micro-gpu", name));
        var config = model.Config;
        var length = Math.Min(256, config.MaxModelLength);
        using var cuda = new CudaCalibration(model.Weights, device: 0, length, kernelCacheFolder: null);
        using var cpu = new CpuBackend(
            Bf16Weights.Of(model.Weights), new CpuBackendOptions { Slots = 1, MaxModelLength = length, CacheBytes = 1, Spec = LatentSpec.Dense(config.LayerCount) });
        var inputs = new Inputs();
        var expected = new CovarianceSet(config.LayerCount, config.KeyWidth);
        var actual = new CovarianceSet(config.LayerCount, config.KeyWidth);
        foreach (var count in new[] { length, 1, 67 })
        {
            int[] tokens = [.. Enumerable.Range(0, count).Select(_ => inputs.Next(config.VocabularySize))];
            cpu.AccumulateKeyCovariance(tokens, expected);
            cuda.AccumulateKeyCovariance(tokens, actual);
        }

        cuda.CollectKeyCovariance(actual);

        // a second collection has nothing to add
        cuda.CollectKeyCovariance(actual);
        for (var layer = 0; layer < config.LayerCount; layer++)
        {
            Assert.Equal(expected.Count(layer), actual.Count(layer));
            var (wanted, found) = (expected.Covariance(layer, centred: true), actual.Covariance(layer, centred: true));
            var error = Math.Sqrt(wanted.Zip(found).Sum(p => (p.First - p.Second) * (p.First - p.Second)) / wanted.Sum(v => v * v));
            Console.WriteLine($"{name} layer {layer}: covariance off by {error:P3}");

            // keys of the first layer are rounded once; deeper ones carry the activations' rounding, which the random models amplify
            Assert.True(error < (layer == 0 ? 0.005 : 0.05), $"{name} layer {layer}: {error}; {inputs}");
        }
    }

    [GpuTheory]
    [InlineData(1)]
    [InlineData(37)]
    [InlineData(256)]
    public void Solver_finds_what_the_host_finds(int size)
    {
        Assert.SkipUnless(SymmetricSolver.IsAvailable, "cuSOLVER is not installed.");
        using var gpu = Gpu.Open();
        var inputs = new Inputs();
        var factor = inputs.Normal(2 * size * size);
        var matrix = new double[size * size];
        for (var i = 0; i < size; i++)
        {
            for (var j = 0; j < size; j++)
            {
                for (var t = 0; t < 2 * size; t++)
                {
                    matrix[(i * size) + j] += (double)factor[(t * size) + i] * factor[(t * size) + j];
                }
            }
        }

        var values = new double[size];
        var vectors = new double[size * size];
        SymmetricSolver.Solve(gpu.Stream, matrix, size, values, vectors);
        var (expected, actual) = (SymmetricEigen.Of(matrix, size), SymmetricEigen.From(values, vectors));
        for (var i = 0; i < size; i++)
        {
            Assert.Equal(expected.Values[i], actual.Values[i], 1e-9 * expected.Values[0]);
            for (var j = 0; j < size; j++)
            {
                // random values lie apart: vectors are unique but for the sign, which is defined
                Assert.True(Math.Abs(expected.Vector(i)[j] - actual.Vector(i)[j]) < 1e-6, $"vector {i}[{j}]; {inputs}");
            }
        }
    }
}
