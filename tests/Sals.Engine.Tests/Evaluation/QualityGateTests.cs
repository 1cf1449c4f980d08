using System.Globalization;
using Sals.Engine.Backends.Cpu;
using Sals.Engine.Evaluation;
using Sals.Engine.Evaluation.Results;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Tests.Models;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Evaluation;

/// <summary>
/// The compressed caches of the embedded model must answer as well as they did when the values here were recorded, beyond error: four retrieval tasks of a thousand tokens
/// and decode perplexity, on the CPU. A change that moves a value within error may record it anew; one that moves it further must say why.
/// </summary>
public class QualityGateTests(ITestOutputHelper output)
{
    private const int Seed = 20;
    private const int Length = 1024;
    private const int Samples = 8;
    private const int Prompt = 512;
    private const int Forced = 128;
    private const int Windows = 4;
    private const int Slots = 8;

    private static readonly string[] Tasks = ["multikey", "lines", "kv_uuid", "record"];

    /// <summary>Right answers of 32, nats a token more than the exact cache and the standard error of that over windows.</summary>
    private static readonly (string Cache, int Right, double Nats, double Error)[] Recorded = [("dense", 32, 0, 0), ("sals-25", 32, 0.0383, 0.0111), ("sals-12.5", 32, 0.0504, 0.0159), ("sals-25 score_rope=bands", 32, 0.0202, 0.0132)];

    [Fact]
    public async Task Caches_answer_as_well_as_recorded()
    {
        var stop = TestContext.Current.CancellationToken;
        using var folder = ModelFolder.Open(GoldenFolders.Embedded);
        var tasks = EvalModel.Tasks.Parse(string.Join(',', Tasks), _ => { });
        EvalItem[] items = [.. tasks.SelectMany(task => Enumerable.Range(0, Samples).Select(i => EvalModel.Prompts.Draw(task, Length, Seed, i)))];
        var windows = EvalModel.Text.Windows(EvalModel.Tokenizer, Windows, Prompt + 1 + Forced);
        var share = new PrefillShare();
        Dictionary<string, (int Right, double[] Nats)> found = [];
        foreach (var (cache, _, _, _) in Recorded)
        {
            await using var harness = await EngineHarness.StartAsync(() => new CpuBackend(folder.Weights, Options(folder, cache)) { Share = share });
            var run = new EvalRun(harness.Engine, Slots);
            var answers = await run.AnswerAsync(items, folder.Config.EndTokenIds, stop);
            var results = items.Zip(answers, (item, answer) => EvalResult.Of(cache, item, answer, EvalModel.Tokenizer.Decode(answer.Tokens, skipSpecialTokens: false))).ToArray();
            var forced = await run.ForceAsync(windows, Prompt, stop);
            found[cache] = (results.Count(result => result.Score == 1), [.. forced.Select(answer => answer.LogProbabilities.Skip(1).Average(value => -(double)value))]);
            if (cache != "dense")
            {
                Assert.All(results, result => Assert.True(result.SparseLayerTokens > 0));
            }
        }

        foreach (var (cache, right, nats, error) in Recorded)
        {
            var difference = SampleMean.Of([.. found[cache].Nats.Zip(found["dense"].Nats, (one, other) => one - other)]);
            output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{cache}: {found[cache].Right} of {items.Length} right (recorded {right}), {difference.Mean:+0.0000;-0.0000} ± {difference.StandardError:0.0000} nats (recorded {nats:+0.0000;-0.0000} ± {error:0.0000})"));
            var (now, then) = (new Proportion(found[cache].Right, items.Length), new Proportion(right, items.Length));
            Assert.True(now.Interval.High >= then.Interval.Low, $"{cache} answers {now.Hits} of {now.Count} right, recorded were {then.Hits}: less, beyond the 95% intervals of both.");
            Assert.True(difference.Mean <= nats + error + 1e-4, $"{cache} loses {difference.Mean:0.0000} nats a token, recorded was {nats:0.0000} ± {error:0.0000}: more than a standard error above.");
        }
    }

    private static CpuBackendOptions Options(ModelFolder folder, string cache)
    {
        var words = cache.Split(' ');
        var spec = LatentSpecParser.Parse(words[0], words[0] == "dense" ? [] : ["dense_below=0", "sparsity=8", .. words[1..]], folder.Config);
        return new CpuBackendOptions
        {
            Slots = Slots,
            MaxModelLength = Length,
            CacheBytes = 512L << 20,
            Spec = spec,
            Basis = spec.IsDense ? null : LatentBasisFile.Read(Path.Combine(GoldenFolders.Embedded, "sals-basis.safetensors"), spec, folder.Config, ModelFingerprint.Of(folder.Weights)),
        };
    }
}
