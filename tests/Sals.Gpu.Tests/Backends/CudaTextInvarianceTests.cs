using Sals.Engine.Backends;
using Sals.Engine.Backends.Cuda;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Tests.Backends;
using Sals.Engine.Tests.Latent;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Backends;

/// <summary>Over captured graphs, the scheduler looking one step ahead.</summary>
public class CudaTextInvarianceTests : TextInvarianceContract
{
    protected override ModelConfig Config { get; } = TinyModel.Config(4 * ShortLength) with { HiddenSize = 96, HeadSize = 64, IntermediateSize = 160, LayerCount = 4 };

    protected override int Stretch => 4;

    protected override int Clients => 48;

    protected override int PreemptionStride => 5;

    [Theory]
    [MemberData(nameof(Caches))]
    public void Sixty_four_streams_at_once_give_the_texts_they_have_alone(string cache)
    {
        using var backend = Backend(cache);
        var requests = Enumerable.Range(0, 64).Select(i => Request(Prompt(5 + (29 * i), i), 40, seed: (ulong)i)).ToArray();
        var alone = requests.Select(request => Alone(backend, request)).ToArray();
        var driver = new StepDriver(backend, Options(false, budget: 1000));
        var widest = 0;
        driver.OnPlan = plan => widest = Math.Max(widest, plan.Decodes.Count);
        var together = requests.Select(driver.Add).ToArray();
        for (var i = 0; i < requests.Length; i++)
        {
            Assert.Equal(alone[i], driver.Finish(together[i])[0]);
        }

        Assert.True(widest > 48, $"at most {widest} rows were decoded at once");
        driver.ExpectEmpty();
    }

    [Theory]
    [MemberData(nameof(Caches))]
    public async Task The_engine_gives_the_texts_of_single_steps_to_concurrent_clients(string cache)
    {
        // no prefix is shared: with a compressed one a text could be another
        var requests = Enumerable.Range(0, 24).Select(i => Request(Prompt(40 + (97 * i), i), 64, seed: (ulong)i)).ToArray();
        int[][] alone;
        using (var backend = Backend(cache))
        {
            alone = [.. requests.Select(request => Alone(backend, request))];
        }

        // construction, steps and disposal on the engine's own thread
        await using var harness = await EngineHarness.StartAsync(() => Backend(cache), Options(true));
        var answers = await Task.WhenAll(requests.Select(harness.GenerateAsync));
        for (var i = 0; i < requests.Length; i++)
        {
            Assert.Equal(alone[i], answers[i][0].Tokens);
        }
    }

    protected override IStepBackend Backend(string cache, int pages = 0, int length = 0)
    {
        Assert.SkipWhen(Gpu.Missing is not null, Gpu.Missing ?? "");
        using var weights = TinyModel.Build(Config, type: ElementType.BFloat16);
        var spec = Spec(cache, cache == "sals-25" ? "latent_format=bf16" : "latent_format=int8");
        var layout = new PageLayout(Config, spec, ElementType.BFloat16);
        return new CudaBackend(weights, new CudaBackendOptions
        {
            Slots = 64,
            MaxModelLength = length == 0 ? ShortLength * Stretch : length,
            CacheBytes = pages == 0 ? 512L << 20 : pages * PoolKinds.All.Sum(layout.PageBytes),
            Spec = spec,
            Basis = spec.IsDense ? null : RandomBasis.Create(spec, Config.KeyWidth, eigenvalue: 30),
            KernelCacheFolder = Gpu.KernelFolder,
        });
    }
}
