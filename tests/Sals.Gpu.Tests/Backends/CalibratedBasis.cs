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
        using var backend = new CpuBackend(
            weights, new CpuBackendOptions { Slots = 1, MaxModelLength = Length, CacheBytes = 1, Spec = LatentSpec.Dense(config.LayerCount) });
        var random = new Random(9);
        var text = new CalibrationText([.. Enumerable.Range(0, sequences).Select(_ => Enumerable.Range(0, Length).Select(_ => random.Next(config.VocabularySize)).ToArray())], "random");
        var folder = Directory.CreateTempSubdirectory("sals-basis-").FullName;
        try
        {
            var file = Path.Combine(folder, "basis");
            new Calibrator(backend, config, "model", text, spec.Rank, Path.Combine(folder, "state"), spec.BasisGroups).Run(file, TimeProvider.System, CancellationToken.None);
            return LatentBasisFile.Read(file, spec, config, "model");
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
