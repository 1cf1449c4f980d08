using System.Diagnostics;
using Sals.Engine.Backends.Cuda;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Gpu.Tests.Backends;
using Xunit;

namespace Sals.Gpu.Tests;

/// <summary>How long a calibration of a real shape takes, by hand: random weights, random tokens, 4,096 tokens a sequence.</summary>
public class CalibrationTimings
{
    [GpuTheory(Explicit = true)]
    [InlineData("llama-3.1-8b", 32)]
    [InlineData("llama-2-7b", 16)]
    public void Calibration(string shape, int sequences)
    {
        const int length = 4096;
        using var model = ModelFolder.Open(Path.Combine(GoldenTextTests.Root(), "tests", "shapes", shape), null, LoadFormat.Dummy);
        var config = model.Config;
        var inputs = new Inputs();
        using var backend = new CudaCalibration(model.Weights, device: 0, length, kernelCacheFolder: null);
        var keys = new CovarianceSet(config.LayerCount, config.KeyWidth);
        var tokens = new int[length];
        var watch = Stopwatch.StartNew();
        for (var i = 0; i < sequences; i++)
        {
            for (var t = 0; t < length; t++)
            {
                tokens[t] = inputs.Next(config.VocabularySize);
            }

            backend.AccumulateKeyCovariance(tokens, keys);
        }

        var run = watch.Elapsed.TotalSeconds;
        watch.Restart();
        backend.CollectKeyCovariance(keys);
        var collect = watch.Elapsed.TotalSeconds;
        watch.Restart();
        var eigen = backend.Decompose(keys.Covariance(0, centred: false), config.KeyWidth);
        var decompose = watch.Elapsed.TotalSeconds;
        Assert.True(eigen.Values[0] > 0);

        // 512 sequences, a collection every 16, two bases a layer
        var whole = (512.0 / sequences * run) + (512.0 / backend.SequenceGroup * collect) + (2 * config.LayerCount * decompose);
        Console.WriteLine(
            $"{shape}: {sequences * length / run:N0} tokens/s, collecting {collect:F2} s, eigenvectors of size {config.KeyWidth} {decompose:F2} s each; 512 x 4,096 tokens would take {whole / 60:F1} minutes");
    }
}
