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
/// The promise of the house on the GPU: a text depends on the request and its seed, and on nothing else. The real scheduler, looking one step ahead,
/// over captured graphs.
/// </summary>
public class CudaTextInvarianceTests
{
    private const int Length = 3000;

    private static readonly ModelConfig Config = TinyModel.Config(maxModelLength: Length) with { HiddenSize = 96, HeadSize = 64, IntermediateSize = 160 };

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Alone_and_sixteen_at_once_beside_other_traffic_give_one_text(bool prefixCaching)
    {
        var request = Request(Prompt(1210), 40);
        using var backend = Backend();
        var alone = new StepDriver(backend, Options(false)).Run(request)[0];
        var driver = new StepDriver(backend, Options(prefixCaching, budget: 0.05));
        var traffic = Enumerable.Range(0, 6).Select(i => driver.Add(Request(Prompt(30 + (390 * i), 50 + i), 60 + i, seed: (ulong)i))).ToList();
        driver.Step();
        var equal = Enumerable.Range(0, 16).Select(_ => driver.Add(request with { Id = Guid.NewGuid().ToString("N") })).ToList();
        Assert.All(equal, generation => Assert.Equal(alone, driver.Finish(generation)[0]));
        Assert.Equal(prefixCaching, equal.Any(generation => generation.Handle.Trace.CachedTokens > 0));
        traffic.ForEach(generation => driver.Finish(generation));
        driver.ExpectEmpty();
    }

    [Fact]
    public void Sixty_four_streams_at_once_give_the_texts_they_have_alone()
    {
        using var backend = Backend();
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

    [Fact]
    public void Preempted_gives_the_same_text()
    {
        var request = Request(Prompt(150), 90);
        using var backend = Backend();
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

    [Fact]
    public void Aborted_between_any_two_steps_disturbs_nobody()
    {
        var request = Request(Prompt(140), 30);
        using var backend = Backend();
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

    [Fact]
    public void Choices_are_their_own_streams()
    {
        var request = Request(Prompt(200), 50, choices: 4);
        using var backend = Backend();
        var texts = new StepDriver(backend, Options(false)).Run(request);
        for (var choice = 0; choice < 4; choice++)
        {
            var single = request with { Choices = 1, Sampling = request.Sampling with { Stream = (uint)choice } };
            Assert.Equal(new StepDriver(backend, Options(false)).Run(single)[0], texts[choice]);
        }

        Assert.Equal(4, texts.Select(text => string.Join(' ', text)).Distinct().Count());
    }

    [Fact]
    public async Task The_engine_gives_the_texts_of_single_steps_to_concurrent_clients()
    {
        var requests = Enumerable.Range(0, 24).Select(i => Request(Prompt(40 + (97 * i), i), 64, seed: (ulong)i)).ToArray();
        int[][] alone;
        using (var backend = Backend())
        {
            alone = [.. requests.Select(request => new StepDriver(backend, Options(false)).Run(request)[0])];
        }

        // construction, steps and disposal on the engine's own thread
        await using var harness = await EngineHarness.StartAsync(Backend, Options(true));
        var answers = await Task.WhenAll(requests.Select(harness.GenerateAsync));
        for (var i = 0; i < requests.Length; i++)
        {
            Assert.Equal(alone[i], answers[i][0].Tokens);
        }
    }

    private static CudaBackend Backend()
    {
        Assert.SkipWhen(Gpu.Missing is not null, Gpu.Missing ?? "");
        using var weights = TinyModel.Build(Config, type: ElementType.BFloat16);
        return new CudaBackend(weights, new CudaBackendOptions { Slots = 64, MaxModelLength = Length, CacheBytes = 512L << 20, Spec = LatentSpec.Dense(Config.LayerCount) });
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
