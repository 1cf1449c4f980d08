using Sals.Engine.Backends.Cpu;
using Sals.Engine.Latent;
using Sals.Engine.Models;

namespace Sals.Gpu.Tests.Backends;

/// <summary>The basis that a model really has, from random tokens on the CPU: so that scores, clipping and reconstruction are of the usual size.</summary>
internal static class CalibratedBasis
{
    private const int Length = 256;

    public static LatentBasis Of(ModelWeights weights, LatentSpec spec, int sequences = 8)
    {
        var config = weights.Config;
        var keys = new CovarianceSet(config.LayerCount, config.KeyWidth);
        using var backend = new CpuBackend(
            weights, new CpuBackendOptions { Slots = 1, MaxModelLength = Length, CacheBytes = 1, Spec = LatentSpec.Dense(config.LayerCount) });
        var random = new Random(9);
        for (var i = 0; i < sequences; i++)
        {
            backend.AccumulateKeyCovariance([.. Enumerable.Range(0, Length).Select(_ => random.Next(config.VocabularySize))], keys);
        }

        return new LatentBasis([.. Enumerable.Range(0, config.LayerCount).Select(l => spec.DenseLayers.Contains(l) ? null : Layer(keys, l, spec))], "calibrated");
    }

    private static LatentBasisLayer Layer(CovarianceSet keys, int layer, LatentSpec spec)
    {
        var width = keys.Width;
        var mean = keys.Mean(layer);
        var eigen = SymmetricEigen.Of(keys.Covariance(layer, spec.Centred), width);
        var remaining = spec.Centred ? new double[width] : mean;
        var vectors = Enumerable.Range(0, spec.Rank).Select(i => eigen.Vector(i).ToArray()).ToArray();
        return new LatentBasisLayer(
            [.. vectors.SelectMany(v => v).Select(x => (float)x)],
            [.. mean.Select(x => spec.Centred ? (float)x : 0)],
            [.. eigen.Values.Take(spec.Rank).Select(v => (float)Math.Max(0, v))],
            [.. vectors.Select(v => (float)v.Zip(remaining, (a, b) => a * b).Sum())]);
    }
}
