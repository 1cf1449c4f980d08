using Sals.Engine;
using Sals.Engine.Backends.Cuda;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Sampling;
using Sals.Engine.Scheduling;
using Sals.Engine.Tests.Latent;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Backends;

/// <summary>
/// The promise of the house on the GPU: a text depends on the request and its seed, and on nothing else. The real scheduler, looking one step ahead,
/// over captured graphs.
/// </summary>
public class CudaTextInvarianceTests
{
    private const int Length = 3000;

    private static readonly ModelConfig Config = TinyModel.Config(maxModelLength: Length) with { HiddenSize = 96, HeadSize = 64, IntermediateSize = 160, LayerCount = 4 };

    public static TheoryData<string> Caches => ["dense", "sals-25", "sals-12.5 dense_format=int8"];

    [Theory]
    [InlineData("dense", false)]
    [InlineData("dense", true)]
    [InlineData("sals-25", false)]
    [InlineData("sals-25", true)]
    [InlineData("sals-12.5", true)]
    public void Alone_and_sixteen_at_once_beside_other_traffic_give_one_text(string cache, bool prefixCaching)
    {
        var request = Request(Prompt(1210), 40);
        using var backend = Backend(cache);
        var alone = new StepDriver(backend, Options(false)).Run(request)[0];
        var driver = new StepDriver(backend, Options(prefixCaching, budget: 0.05));
        var traffic = Enumerable.Range(0, 6).Select(i => driver.Add(Request(Prompt(30 + (390 * i), 50 + i), 60 + i, seed: (ulong)i))).ToList();
        driver.Step();
        var equal = Enumerable.Range(0, 16).Select(_ => driver.Add(request with { Id = Guid.NewGuid().ToString("N") })).ToList();
        equal.ForEach(generation => driver.Finish(generation));

        // a prefix held in latent form may change the text, but to one text for one cached length
        var texts = equal.GroupBy(generation => cache == "dense" ? 0 : generation.Handle.Trace.CachedTokens, generation => string.Join(' ', generation.Choices[0].Tokens)).ToArray();
        Assert.All(texts, group => Assert.Single(group.Distinct()));
        Assert.All(texts.Where(group => group.Key == 0), group => Assert.Equal(string.Join(' ', alone), group.First()));
        Assert.Equal(prefixCaching, equal.Any(generation => generation.Handle.Trace.CachedTokens > 0));
        traffic.ForEach(generation => driver.Finish(generation));
        driver.ExpectEmpty();
    }

    [Theory]
    [MemberData(nameof(Caches))]
    public void Sixty_four_streams_at_once_give_the_texts_they_have_alone(string cache)
    {
        using var backend = Backend(cache);
        var requests = Enumerable.Range(0, 64).Select(i => Request(Prompt(5 + (29 * i), i), 40, seed: (ulong)i)).ToArray();
        var alone = requests.Select(request => new StepDriver(backend, Options(false)).Run(request)[0]).ToArray();
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
    public void Preempted_gives_the_same_text(string cache)
    {
        var request = Request(Prompt(150), 90);
        using var backend = Backend(cache);
        var alone = new StepDriver(backend, Options(false)).Run(request)[0];
        foreach (var prefixCaching in new[] { false, true })
        {
            for (var position = 0; position < alone.Length - 2; position += 5)
            {
                var driver = new StepDriver(backend, Options(prefixCaching));
                var generation = driver.Add(request);
                while (generation.Choices[0].Tokens.Count <= position)
                {
                    driver.Step();
                }

                Assert.True(driver.Scheduler.Preempt(generation.Choices[0]));
                Assert.Equal(alone, driver.Finish(generation)[0]);
                Assert.Equal(1, generation.Handle.Trace.Preemptions);
                driver.ExpectEmpty();
            }
        }
    }

    [Theory]
    [MemberData(nameof(Caches))]
    public void A_cache_too_small_for_everybody_preempts_and_changes_no_text(string cache)
    {
        var requests = Enumerable.Range(0, 12).Select(i => Request(Prompt(100 + (20 * i), 100 + i), 120, seed: (ulong)i)).ToArray();
        using var backend = Backend(cache, pages: 26, length: 768);
        var alone = requests.Select(request => new StepDriver(backend, Options(false)).Run(request)[0]).ToArray();
        var driver = new StepDriver(backend, Options(false));
        var generations = requests.Select(driver.Add).ToArray();
        for (var i = 0; i < requests.Length; i++)
        {
            Assert.Equal(alone[i], driver.Finish(generations[i])[0]);
        }

        Assert.True(driver.Stats.Preemptions > 0, "nobody was preempted");
        driver.ExpectEmpty();
    }

    [Theory]
    [MemberData(nameof(Caches))]
    public void Aborted_between_any_two_steps_disturbs_nobody(string cache)
    {
        var request = Request(Prompt(140), 30);
        using var backend = Backend(cache);
        var alone = new StepDriver(backend, Options(false)).Run(request)[0];
        for (var moment = 0; moment < 25; moment++)
        {
            var driver = new StepDriver(backend, Options(false, budget: 0.05));
            var other = driver.Add(Request(Prompt(1300, 9), 40, choices: 2));
            var kept = driver.Add(request);
            for (var step = 0; step < moment; step++)
            {
                driver.Step();
            }

            driver.Scheduler.Abort(other, (moment % 3) - 1);
            Assert.Equal(alone, driver.Finish(kept)[0]);
            driver.Scheduler.Abort(other, -1);
            driver.ExpectEmpty();
        }
    }

    [Theory]
    [MemberData(nameof(Caches))]
    public void Choices_are_their_own_streams(string cache)
    {
        var request = Request(Prompt(200), 50, choices: 4);
        using var backend = Backend(cache);
        var texts = new StepDriver(backend, Options(false)).Run(request);
        for (var choice = 0; choice < 4; choice++)
        {
            var single = request with { Choices = 1, Sampling = request.Sampling with { Stream = (uint)choice } };
            Assert.Equal(new StepDriver(backend, Options(false)).Run(single)[0], texts[choice]);
        }

        Assert.Equal(4, texts.Select(text => string.Join(' ', text)).Distinct().Count());
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
            alone = [.. requests.Select(request => new StepDriver(backend, Options(false)).Run(request)[0])];
        }

        // construction, steps and disposal on the engine's own thread
        await using var harness = await EngineHarness.StartAsync(() => Backend(cache), Options(true));
        var answers = await Task.WhenAll(requests.Select(harness.GenerateAsync));
        for (var i = 0; i < requests.Length; i++)
        {
            Assert.Equal(alone[i], answers[i][0].Tokens);
        }
    }

    [Theory]
    [MemberData(nameof(Caches))]
    public async Task A_soak_in_a_small_cache_with_a_fifth_of_the_clients_gone_leaves_the_pools_empty(string cache)
    {
        await using var harness = await EngineHarness.StartAsync(() => Backend(cache, pages: 200), Options(true, budget: 2));
        var seed = Random.Shared.Next();
        var random = new Random(seed);
        var shared = Prompt(700, 77);
        var plans = Enumerable.Range(0, 200).Select(i =>
        {
            var own = Prompt(random.Next(1, 500), i);
            int[] prompt = random.Next(2) == 0 ? own : [.. shared[..random.Next(64, 700)], .. own[..Math.Min(40, own.Length)]];
            return (Request: Request(prompt, random.Next(1, 150), random.Next(5) == 0 ? 2 : 1, (ulong)i), GoneAfter: random.Next(5) == 0 ? random.Next(0, 40) : -1);
        }).ToArray();
        var finished = 0;
        await Parallel.ForEachAsync(plans, new ParallelOptions { MaxDegreeOfParallelism = 48 }, async (plan, _) =>
        {
            await using var handle = harness.Engine.Start(plan.Request);
            var seen = 0;
            await foreach (var token in handle.Events.ReadAllAsync(CancellationToken.None))
            {
                Assert.True(token.Finish != FinishReason.Error, token.Error);
                if (seen++ == plan.GoneAfter)
                {
                    return;
                }
            }

            Interlocked.Increment(ref finished);
        });
        await harness.QuietAsync();
        Console.WriteLine($"soak {cache}: {finished} finished, {harness.Engine.Stats.Preemptions} preemptions, {harness.Engine.Stats.Flushes} flushes (seed {seed})");
        Assert.True(finished >= 120, $"{finished} finished (seed {seed})");
        Assert.Equal(EngineState.Ready, harness.Engine.State);
        Assert.Equal(0, harness.Engine.Stats.CacheBytesUsed);
    }

    /// <param name="pages">Pages of every pool that the cache has room for; 0 = enough for everybody.</param>
    private static CudaBackend Backend(string cache, int pages = 0, int length = Length)
    {
        Assert.SkipWhen(Gpu.Missing is not null, Gpu.Missing ?? "");
        using var weights = TinyModel.Build(Config, type: ElementType.BFloat16);
        var words = cache.Split(' ');
        string[] settings = cache == "dense" ? [] : ["dense_below=0", "critical=48", cache == "sals-25" ? "latent_format=bf16" : "latent_format=int8"];
        var spec = LatentSpecParser.Parse(words[0], [.. words[1..], .. settings], Config);
        var layout = new PageLayout(Config, spec, ElementType.BFloat16);
        return new CudaBackend(weights, new CudaBackendOptions
        {
            Slots = 64,
            MaxModelLength = length,
            CacheBytes = pages == 0 ? 512L << 20 : pages * PoolKinds.All.Sum(layout.PageBytes),
            Spec = spec,
            Basis = spec.IsDense ? null : RandomBasis.Create(spec, Config.KeyWidth, eigenvalue: 30),
            KernelCacheFolder = Gpu.KernelFolder,
        });
    }

    private static int[] Prompt(int length, int seed = 1)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, length).Select(_ => random.Next(Config.VocabularySize))];
    }

    // sampled, not greedy: a random model's greedy text may be one token for ever and would hide a difference
    private static GenerationRequest Request(int[] prompt, int maxTokens, int choices = 1, ulong seed = 5) =>
        EngineHarness.Request(prompt, maxTokens, choices, new SamplingOptions { Temperature = 0.9f, TopP = 0.95f, FrequencyPenalty = 0.3f, Seed = seed });

    private static EngineOptions Options(bool prefixCaching, double budget = 20) =>
        new() { CheckIntegrity = true, PrefixCaching = prefixCaching, PrefillBudgetMilliseconds = budget, Fingerprint = "test" };
}
