using Sals.Engine.Backends;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Sampling;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Backends;

/// <summary>
/// The promise of the house: a text depends on the request, its seed and its cached prefix, and on nothing else. The real scheduler over a real
/// backend and a small random model, exact and compressed from the first page on.
/// </summary>
public abstract class TextInvarianceContract
{
    /// <summary>Presets and their settings.</summary>
    public static TheoryData<string> Caches => ["dense", "sals-25", "sals-12.5 dense_format=int8"];

    /// <summary>Longest sequence of a backend for prompts that are not stretched.</summary>
    protected const int ShortLength = 768;

    protected abstract ModelConfig Config { get; }

    /// <summary>How many times longer prompts are than what a CPU gets through in a test's time.</summary>
    protected virtual int Stretch => 1;

    /// <summary>Clients at once of a soak; the slots are more.</summary>
    protected virtual int Clients => 12;

    /// <summary>Tokens from one moment of preemption to the next.</summary>
    protected virtual int PreemptionStride => 1;

    /// <param name="pages">Pages of every pool that the cache has room for; 0 = enough for everybody.</param>
    /// <param name="length">Longest sequence; 0 = <see cref="ShortLength"/> times <see cref="Stretch"/>.</param>
    protected abstract IStepBackend Backend(string cache, int pages = 0, int length = 0);

    /// <summary>The settings of one of <see cref="Caches"/>, compressed from the first page on.</summary>
    protected LatentSpec Spec(string cache, params string[] settings)
    {
        var words = cache.Split(' ');
        return LatentSpecParser.Parse(words[0], [.. words[1..], .. words[0] == "dense" ? [] : (string[])["dense_below=0", "critical=48", .. settings]], Config);
    }

    protected int[] Prompt(int length, int seed = 1)
    {
        var random = new Random(seed);
        return [.. Enumerable.Range(0, length).Select(_ => random.Next(Config.VocabularySize))];
    }

    // sampled, not greedy: a random model's greedy text may be one token for ever and would hide a difference
    protected static GenerationRequest Request(int[] prompt, int maxTokens, int choices = 1, ulong seed = 5) =>
        EngineHarness.Request(prompt, maxTokens, choices, new SamplingOptions { Temperature = 0.9f, TopP = 0.95f, FrequencyPenalty = 0.3f, Seed = seed });

    protected static EngineOptions Options(bool prefixCaching, double budget = 20) =>
        new() { CheckIntegrity = true, PrefixCaching = prefixCaching, PrefillBudgetMilliseconds = budget, Fingerprint = "test" };

    protected static int[] Alone(IStepBackend backend, GenerationRequest request) => new StepDriver(backend, Options(false)).Run(request)[0];

    [Theory]
    [MemberData(nameof(Caches))]
    public void Alone_sixteen_at_once_and_beside_other_traffic_give_one_text(string cache)
    {
        var request = Request(Prompt(210 * Stretch), 40);
        using var backend = Backend(cache);
        var alone = string.Join(' ', Alone(backend, request));
        foreach (var prefixCaching in new[] { false, true })
        {
            // a tiny budget cuts every prompt into many slices
            var driver = new StepDriver(backend, Options(prefixCaching, budget: 0.05));
            var traffic = Enumerable.Range(0, 6).Select(i => driver.Add(Request(Prompt(30 + (90 * i * Stretch), 50 + i), 60 + i, seed: (ulong)i))).ToList();
            driver.Step();
            var equal = Enumerable.Range(0, 16).Select(_ => driver.Add(request with { Id = Guid.NewGuid().ToString("N") })).ToList();
            equal.ForEach(generation => driver.Finish(generation));

            // a prefix held in latent form may change the text, but to one text for one cached length
            var texts = equal.GroupBy(generation => cache == "dense" ? 0 : generation.Handle.Trace.CachedTokens, generation => string.Join(' ', generation.Choices[0].Tokens)).ToArray();
            Assert.All(texts, group => Assert.Single(group.Distinct()));
            Assert.All(texts.Where(group => group.Key == 0), group => Assert.Equal(alone, group.First()));
            Assert.Equal(prefixCaching, equal.Exists(generation => generation.Handle.Trace.CachedTokens > 0));
            traffic.ForEach(generation => driver.Finish(generation));
            driver.ExpectEmpty();
        }
    }

    [Theory]
    [MemberData(nameof(Caches))]
    public void Preempted_at_every_position_gives_the_same_text(string cache)
    {
        var request = Request(Prompt(150), 90);
        using var backend = Backend(cache);
        var alone = Alone(backend, request);
        foreach (var prefixCaching in new[] { false, true })
        {
            // a row whose last step is in flight is not preempted
            for (var position = 0; position < alone.Length - 1 - backend.Info.LookAhead; position += prefixCaching ? 7 : PreemptionStride)
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
    public void Choice_zero_equals_n_1_and_every_choice_its_own_stream(string cache)
    {
        var request = Request(Prompt(200), 50, choices: 4);
        using var backend = Backend(cache);
        var driver = new StepDriver(backend, Options(false));
        var texts = driver.Run(request);
        for (var choice = 0; choice < 4; choice++)
        {
            Assert.Equal(Alone(backend, request with { Choices = 1, Sampling = request.Sampling with { Stream = (uint)choice } }), texts[choice]);
        }

        Assert.Equal(4, texts.Select(text => string.Join(' ', text)).Distinct().Count());
        driver.ExpectEmpty();
    }

    [Theory]
    [MemberData(nameof(Caches))]
    public void Aborted_between_any_two_steps_disturbs_nobody(string cache)
    {
        var request = Request(Prompt(140), 30);
        using var backend = Backend(cache);
        var alone = Alone(backend, request);
        for (var moment = 0; moment < 25; moment++)
        {
            var driver = new StepDriver(backend, Options(false, budget: 0.05));
            var other = driver.Add(Request(Prompt(300 * Stretch, 9), 40, choices: 2));
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
    public void A_cache_too_small_for_everybody_preempts_and_changes_no_text(string cache)
    {
        var requests = Enumerable.Range(0, 12).Select(i => Request(Prompt(100 + (20 * i), 100 + i), 120, seed: (ulong)i)).ToArray();
        using var backend = Backend(cache, pages: 26, ShortLength);
        var alone = requests.Select(request => Alone(backend, request)).ToArray();
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
    public async Task A_soak_in_a_small_cache_with_a_fifth_of_the_clients_gone_leaves_the_pools_empty(string cache)
    {
        await using var harness = await EngineHarness.StartAsync(() => Backend(cache, pages: 140), Options(true, budget: 2));
        var seed = Random.Shared.Next();
        var random = new Random(seed);
        var shared = Prompt(300 * Stretch, 77);
        var plans = Enumerable.Range(0, 160).Select(i =>
        {
            var own = Prompt(random.Next(1, 200 * Stretch), i);
            int[] prompt = random.Next(2) == 0 ? own : [.. shared[..random.Next(64, shared.Length)], .. own[..Math.Min(40, own.Length)]];
            return (Request: Request(prompt, random.Next(1, 60 * Stretch), random.Next(5) == 0 ? 2 : 1, (ulong)i), GoneAfter: random.Next(5) == 0 ? random.Next(0, 40) : -1);
        }).ToArray();
        var finished = 0;
        await Parallel.ForEachAsync(plans, new ParallelOptions { MaxDegreeOfParallelism = Clients }, async (plan, _) =>
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
        Assert.True(finished >= 100, $"{finished} finished (seed {seed})");
        Assert.Equal(EngineState.Ready, harness.Engine.State);
        Assert.Equal(0, harness.Engine.Stats.CacheBytesUsed);
        harness.Engine.ClearPrefixCache();
        while (harness.Engine.Stats.CacheBytesCached > 0)
        {
            await Task.Delay(5);
        }
    }
}
