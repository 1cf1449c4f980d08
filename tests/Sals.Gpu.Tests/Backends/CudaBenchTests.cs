using Sals.Engine.Backends.Cuda;
using Sals.Engine.Backends.Cuda.Benchmarks;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Backends;

/// <summary>The benches measure what they say: pages by the layout's arithmetic, every launch of a step, and no step that differs from the next.</summary>
public class CudaBenchTests
{
    private const int Rows = 3;
    private const int Context = 1024;

    [GpuTheory]
    [InlineData("dense")]
    [InlineData("sals-25", "dense_below=256", "critical=96")]
    [InlineData("sals-12.5", "dense_below=256", "critical=96", "latent_format=int8", "dense_format=int8")]
    public void Step_holds_the_pages_of_its_rows_and_times_its_launches(string preset, params string[] settings)
    {
        var model = Model();
        var spec = LatentSpecParser.Parse(preset, settings, model);
        using var weights = RandomWeights.Of(model);
        using var bench = new CudaBench(weights, Options(model, spec), preset);
        var figure = bench.Step(Rows, Context, steps: 64, kernels: true)!;

        // the last token's page is full: nothing is held but what the length needs
        var layout = new PageLayout(model, spec, ElementType.BFloat16);
        Assert.Equal(Rows * PoolKinds.All.Sum(kind => layout.PageBytes(kind) * layout.HeldPages(kind, Context, Context)), figure.PageBytes);
        Assert.Equal(Rows * CacheTraffic.BytesRead(layout, Context), figure.CacheBytes);
        Assert.InRange(figure.StepMilliseconds, 0.01, 100);
        Assert.Contains(figure.Kernels, k => k.Name == "plan_step" && k.Launches == 1);
        Assert.Equal(spec.SparseLayers.Length, figure.Kernels.Where(k => k.Name.StartsWith("sparse_attend", StringComparison.Ordinal)).Sum(k => k.Launches));
        Assert.All(figure.Kernels, k => Assert.True(k.Microseconds > 0, k.Name));

        // again from the start: the sequences before have given back what they held
        Assert.Equal(figure.PageBytes, bench.Step(Rows, Context, steps: 64, kernels: false)!.PageBytes);
        Assert.Null(bench.Step(100_000, Context, steps: 64, kernels: false));
    }

    [GpuFact]
    public void Exact_rows_are_timed_as_the_dense_attention_they_are()
    {
        var model = Model();
        var spec = LatentSpecParser.Parse("sals-25", ["dense_below=1024"], model);
        using var weights = RandomWeights.Of(model);
        using var bench = new CudaBench(weights, Options(model, spec), "sals-25");
        var exact = bench.Step(Rows, Context, steps: 64, kernels: true)!;
        Assert.Equal(model.LayerCount, exact.Kernels.Where(k => k.Name.StartsWith("dense_attend", StringComparison.Ordinal)).Sum(k => k.Launches));
        Assert.DoesNotContain(exact.Kernels, k => k.Name.StartsWith("sparse_attend", StringComparison.Ordinal) || k.Name.StartsWith("score_select", StringComparison.Ordinal));

        // the step that is repeated lies behind the border
        var compressed = bench.Step(Rows, Context + 1, steps: 64, kernels: true)!;
        Assert.Equal(
            model.LayerCount - spec.SparseLayers.Length, compressed.Kernels.Where(k => k.Name.StartsWith("dense_attend", StringComparison.Ordinal)).Sum(k => k.Launches));
        Assert.Equal(spec.SparseLayers.Length, compressed.Kernels.Where(k => k.Name.StartsWith("score_select", StringComparison.Ordinal)).Sum(k => k.Launches));
    }

    [GpuFact]
    public void Floor_reads_less_of_a_compressed_cache()
    {
        var model = Model();
        var dense = CacheTraffic.BytesRead(new PageLayout(model, LatentSpec.Dense(model.LayerCount), ElementType.BFloat16), 2048);
        Assert.Equal(2L * 2048 * model.KeyWidth * 2 * model.LayerCount, dense);
        var spec = LatentSpecParser.Parse("sals-12.5", ["dense_below=256", "critical=96", "dense_layers=none"], model);
        Assert.InRange(CacheTraffic.BytesRead(new PageLayout(model, spec, ElementType.BFloat16), 2048), dense / 16, dense / 3);
    }

    private static ModelConfig Model() => TinyModel.Config(maxModelLength: 2400) with { LayerCount = 5, HiddenSize = 96, HeadSize = 64, IntermediateSize = 160 };

    private static CudaBackendOptions Options(ModelConfig model, LatentSpec spec) => new()
    {
        Slots = 4,
        MaxModelLength = 2400,
        CacheBytes = 64L << 20,
        Spec = spec,
        Basis = spec.IsDense ? null : RandomLatentBasis.Of(spec, model),
    };
}
