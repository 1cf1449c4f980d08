using Sals.Engine.Backends.Cpu;
using Sals.Engine.Evaluation;
using Sals.Engine.Latent;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Evaluation;

public class CpuBenchTests
{
    [Fact]
    public void Every_figure_is_measured()
    {
        var result = CpuBench.Run(TinyModel.Build(), Options(), promptLength: 100, context: 60, steps: 10, batch: 3);
        Assert.Equal(100 / result.Steps.PrefillSeconds, result.Steps.PrefillTokensPerSecond);
        Assert.InRange(result.Steps.StepSeconds, 1e-7, 10);
        Assert.InRange(result.Steps.BatchStepSeconds, 1e-7, 10);
        Assert.InRange(100 * result.PrefillShare, 1e-6, 150);
        Assert.True(result.Ceilings.ReadBytesPerSecond > 1e6 && result.Ceilings.FlopsPerSecond > 1e6);
        Assert.True(result.Memory.Cache > 0 && result.Memory.Weights >= result.DecodeWeightBytes);
        // 2 operations a weight, plus the zero rows that fill up the panels
        Assert.InRange(result.FlopsPerToken, 0.9 * result.DecodeWeightBytes / 2, result.DecodeWeightBytes / 2.0);
    }

    [Fact]
    public void Sequences_that_do_not_fit_are_refused() =>
        Assert.Throws<ArgumentException>(() => CpuBench.Run(TinyModel.Build(), Options(), promptLength: 1000));

    private static CpuBackendOptions Options() => new()
    {
        Slots = 3,
        MaxModelLength = 128,
        CacheBytes = 256L << 20,
        Spec = LatentSpec.Dense(3),
        Threads = 2,
    };
}
