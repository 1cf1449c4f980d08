using Sals.Engine;
using Sals.Engine.Backends.Cuda;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Sampling;
using Sals.Engine.Scheduling;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Backends;

/// <summary>
/// Layers of the heads that real models have, with enough rows and tokens that every block of a kernel has several items and a step has rows in the
/// wider products: what tiny models never reach.
/// </summary>
public class RealShapeTests
{
    private static readonly ModelConfig Config = TinyModel.Config(maxModelLength: 3000) with
    {
        LayerCount = 2,
        HiddenSize = 1024,
        IntermediateSize = 2048,
        HeadCount = 32,
        KeyValueHeadCount = 8,
        HeadSize = 128,
        VocabularySize = 1000,
    };

    [Theory]
    [InlineData("dense")]
    [InlineData("sals-25", "latent_format=int8", "centred=true")]
    [InlineData("sals-12.5", "latent_format=int8", "centred=true")]
    [InlineData("sals-25", "latent_format=bf16")]
    [InlineData("sals-25", "dense_below=900")]
    public void Forty_streams_at_once_give_the_texts_they_have_alone_eager_or_as_graphs(string cache, params string[] changes)
    {
        Assert.SkipWhen(Gpu.Missing is not null, Gpu.Missing ?? "");
        var requests = Enumerable.Range(0, 40).Select(i => Request(200 + (37 * i), i)).ToArray();
        int[][] alone;
        using (var backend = Backend(cache, changes, graphs: true))
        {
            alone = [.. requests.Select(request => new StepDriver(backend, Options).Run(request)[0])];
            Assert.Equal(alone, Together(backend, requests));
        }

        using var eager = Backend(cache, changes, graphs: false);
        Assert.Equal(alone, Together(eager, requests));
    }

    /// <summary>
    /// A prompt in a pack has other rows of the products' tiles than alone. Widths of an 8B model, since the library chooses its algorithms by them.
    /// </summary>
    [Theory]
    [InlineData("dense")]
    [InlineData("sals-25", "latent_format=int8", "centred=true")]
    public void Packed_prompts_have_the_logits_that_they_have_alone_bit_for_bit(string cache, params string[] changes)
    {
        Assert.SkipWhen(Gpu.Missing is not null, Gpu.Missing ?? "");
        var config = Config with { HiddenSize = 4096, IntermediateSize = 14336 };
        int[] lengths = [300, 1, 129, 64, 500, 30];
        int[][] prompts = [.. lengths.Select(length => Request(length, length).Prompt)];
        using var backend = Backend(cache, changes, graphs: true, config);
        var alone = prompts.Select((prompt, slot) => Numbers(new Plans(backend).Start(slot, prompt, Logged).Prefill(slot, prompt).Step())).ToArray();
        var plans = new Plans(backend);
        var offset = 0;
        for (var slot = 0; slot < prompts.Length; slot++)
        {
            plans.Start(slot, prompts[slot], Logged).Prefill(slot, prompts[slot], laneOffset: offset);
            offset += lengths[slot];
        }

        Assert.Equal(prompts.Length, PromptPack.Count(plans.Plan.Prefills.Items, backend.Info.PrefillChunk));
        Assert.Equal(alone.SelectMany(numbers => numbers), Numbers(plans.Step()));

        static float[] Numbers(StepResult result) => [.. result.TopLogProbabilities.AsSpan(0, result.Count * StepResult.MaxTop)];
    }

    private static SamplingOptions Logged => new() { Temperature = 0, LogProbabilities = StepResult.MaxTop };

    private static EngineOptions Options => new() { CheckIntegrity = true, PrefixCaching = false, PrefillBudgetMilliseconds = 1000, Fingerprint = "test" };

    private static int[][] Together(CudaBackend backend, GenerationRequest[] requests)
    {
        var driver = new StepDriver(backend, Options);
        var widest = 0;
        driver.OnPlan = plan => widest = Math.Max(widest, plan.Decodes.Count);
        var generations = requests.Select(driver.Add).ToArray();
        int[][] texts = [.. generations.Select(generation => driver.Finish(generation)[0])];
        Assert.True(widest > 32, $"at most {widest} rows were decoded at once");
        driver.ExpectEmpty();
        return texts;
    }

    private static CudaBackend Backend(string cache, string[] changes, bool graphs, ModelConfig? model = null)
    {
        var config = model ?? Config;
        using var weights = RandomWeights.Of(config);
        var spec = LatentSpecParser.Parse(cache, cache == "dense" ? [] : ["dense_layers=none", "dense_below=0", "critical=128", .. changes], config);
        return new CudaBackend(weights, new CudaBackendOptions
        {
            Slots = 64,
            MaxModelLength = config.MaxModelLength,
            CacheBytes = 2L << 30,
            Spec = spec,
            Basis = spec.IsDense ? null : RandomLatentBasis.Of(spec, config),
            KernelCacheFolder = Gpu.KernelFolder,
            Graphs = graphs,
        });
    }

    // sampled, since a random model's greedy text may be one token for ever
    private static GenerationRequest Request(int length, int seed)
    {
        var random = new Random(seed);
        int[] prompt = [.. Enumerable.Range(0, length).Select(_ => random.Next(Config.VocabularySize))];
        return EngineHarness.Request(prompt, 24, 1, new SamplingOptions { Temperature = 0.9f, TopP = 0.95f, Seed = (ulong)seed });
    }
}
