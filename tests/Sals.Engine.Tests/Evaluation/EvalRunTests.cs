using Sals.Engine.Backends.Cpu;
using Sals.Engine.Evaluation;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Tests.Latent;
using Sals.Engine.Tests.Models;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Evaluation;

public class EvalRunTests
{
    private const int Prompt = 150;
    private const int Forced = 60;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Decode_perplexity_is_the_softmax_of_the_logits_that_decode_rows_computed(bool compressed)
    {
        using var weights = TinyModel.Build();
        var spec = compressed
            ? LatentSpecParser.Parse("sals-25", ["rank=16", "dense_layers=0", "sparsity=8", "dense_below=0"], weights.Config)
            : LatentSpec.Dense(weights.Config.LayerCount);
        var random = new Random(4);
        var basis = new LatentBasis([.. Enumerable.Range(0, spec.LayerCount).Select(layer =>
            spec.DenseLayers.Contains(layer) ? null : RandomBasis.Create(random, weights.Config.KeyWidth, 16, centred: false))], "random");
        int[] window = [.. Enumerable.Range(0, Prompt + 1 + Forced).Select(_ => random.Next(weights.Config.VocabularySize))];
        var probe = new LogitProbe();
        await using var harness = await EngineHarness.StartAsync(() => new CpuBackend(weights, Options(spec, basis, 512)) { Probe = probe });

        var answers = await new EvalRun(harness.Engine, 1).ForceAsync([window], Prompt, TestContext.Current.CancellationToken);
        var layout = new PageLayout(weights.Config, spec, ElementType.Float32);
        var row = EvalScores.Perplexity(spec.Name, Prompt, answers, 1, CacheUse.Of(answers, [window.Length], layout, weights.Config));

        var expected = 0.0;
        for (var position = Prompt; position < Prompt + Forced; position++)
        {
            var logits = probe.Logits(0, position).Select(logit => (double)logit).ToArray();
            expected -= logits[window[position + 1]] - Math.Log(logits.Sum(Math.Exp));
        }

        Assert.Equal(expected / Forced, row.NatsPerToken, 1e-4);
        Assert.Equal(Math.Exp(row.NatsPerToken), row.Perplexity, 1e-9);
        Assert.Equal(Forced, row.ForcedTokens);
        Assert.Equal(Forced, row.Use.DecodedTokens);
        Assert.Null(row.Use.Problem);
        Assert.Equal(compressed ? 1 : 0, row.Use.SparseTokenShare);
        // two of three layers are compressed
        Assert.Equal(compressed ? 2.0 / 3 : 0, row.Use.SparsePairShare, 1e-12);
        // a share of what the timeline says: tokens are chosen only while there are more candidates than the budget
        var scored = Enumerable.Range(Prompt + 1, Forced).Count(n => CacheTimeline.SelectedCount(n, spec) < CacheTimeline.CandidateCount(n, spec));
        Assert.Equal(compressed ? scored * 2.0 / 3 / Forced : 0, row.Use.ScoredPairShare, 1e-12);
        var stats = harness.Engine.Stats;
        Assert.Equal(compressed ? Forced : 0, stats.SparseRows);
        Assert.Equal(compressed ? 2 * Forced : 0, stats.SparseLayerRows);
        Assert.Equal(compressed ? 2 * scored : 0, stats.ScoredLayerRows);
        Assert.Equal(Forced, stats.DecodeRows);
    }

    [Fact]
    public async Task Needles_of_the_embedded_model_with_exact_and_compressed_cache()
    {
        const int length = 640;
        using var folder = ModelFolder.Open(GoldenFolders.Embedded);
        EvalPrompt[] prompts = [.. Enumerable.Range(0, 3).Select(i => EvalModel.Needle.Draw(length, 1, i))];
        var dense = await NeedlesAsync(folder, prompts, "dense");
        Assert.Equal((3, 3, 3), (dense.Samples, dense.Exact, dense.Found));
        Assert.Equal(0, dense.Use.SparsePairShare);
        Assert.Null(dense.Use.Problem);
        Assert.Equal(1, dense.Use.ModelRatio);

        var sparse = await NeedlesAsync(folder, prompts, "sals-25", "sparsity=8", "dense_below=0");
        Assert.Null(sparse.Use.Problem);
        Assert.Equal(1, sparse.Use.SparseTokenShare);
        Assert.Equal(5.0 / 8, sparse.Use.SparsePairShare, 1e-12);
        Assert.Equal(sparse.Use.ExpectedBytesPerToken, sparse.Use.MeasuredBytesPerToken);
        Assert.Equal(dense.Use.MeasuredBytesPerToken, sparse.Use.DenseBytesPerToken);
        Assert.InRange(sparse.Use.ModelRatio, 0.3, 0.8);
        // r = D/4 latents and 4 + 1 bits a value: of 16-bit keys and values 0.28125, the paper's 0.28
        Assert.Equal(0.28125, sparse.Use.LayerRatio16, 1e-12);
        Assert.Equal(0.203125, sparse.Use.LayerRatio, 1e-12);

        var never = await NeedlesAsync(folder, prompts[..1], "sals-25", "dense_below=2048");
        Assert.True(never.Use.Unused);
        Assert.Contains("sparse share 0", never.Use.Problem);

        var setup = new EvalSetup("sals-tiny", "cpu", 1, "text", "0", ["dense", "sals-25"]);
        var lines = EvalMarkdown.Needle(setup, [dense, sparse]).Split('\n').Where(line => line.StartsWith('|')).ToArray();
        Assert.Equal(4, lines.Length);
        Assert.Single(lines.Select(line => line.Count(c => c == '|')).Distinct());
        Assert.StartsWith("| dense | 640 | 3/3 | 100.0 |", lines[2]);
        Assert.Contains("| 62.5 |", lines[3]);
    }

    [Fact]
    public void An_answer_is_right_only_as_a_whole_and_when_it_ends()
    {
        var prompt = new EvalPrompt { Prompt = [1], Answer = "It is 12.", Value = "12", MaxTokens = 4, Depth = 0 };
        string[] texts = ["It is 12.", "It is 12.", "It is 12", "It is 21."];
        var answers = texts.Select((_, i) => new EvalAnswer([i], Ended: i != 1, [0], new GenerationTrace { GeneratedTokens = 1, DecodedTokens = 1, CacheTokens = 1 })).ToArray();
        var config = TinyModel.Config();
        var use = CacheUse.Of(answers, [5, 5, 5, 5], new PageLayout(config, LatentSpec.Dense(config.LayerCount), ElementType.Float32), config);
        var row = EvalScores.Needle("dense", 5, [prompt, prompt, prompt, prompt], answers, ids => texts[ids[0]], 1, use);
        Assert.Equal([true, false, false, false], row.Right);
        Assert.Equal((1, 3), (row.Exact, row.Found));
        Assert.Equal(0.25, row.Accuracy);
        // the traces say that no page was held: not what the arithmetic says
        Assert.Contains("PageLayout's arithmetic", use.Problem);
    }

    [Fact]
    public async Task A_failed_request_fails_the_evaluation()
    {
        await using var harness = await EngineHarness.StartAsync(() => new FakeBackend());
        int[] huge = [.. Enumerable.Repeat(1, harness.Info.MaxModelLength)];
        var run = new EvalRun(harness.Engine, 2);
        await Assert.ThrowsAsync<ArgumentException>(() => run.ForceAsync([huge], huge.Length, TestContext.Current.CancellationToken));
    }

    private static async Task<NeedleRow> NeedlesAsync(ModelFolder folder, EvalPrompt[] prompts, string cache, params string[] settings)
    {
        var config = folder.Config;
        var spec = LatentSpecParser.Parse(cache, settings, config);
        var basis = spec.IsDense
            ? null
            : LatentBasisFile.Read(Path.Combine(GoldenFolders.Embedded, "sals-basis.safetensors"), spec, config, ModelFingerprint.Of(folder.Weights));
        await using var harness = await EngineHarness.StartAsync(() => new CpuBackend(folder.Weights, Options(spec, basis, prompts[0].Length)));
        var answers = await new EvalRun(harness.Engine, 3).AnswerAsync(prompts, config.EndTokenIds, TestContext.Current.CancellationToken);
        var use = CacheUse.Of(answers, [.. prompts.Select(prompt => prompt.Length)], new PageLayout(config, spec, ElementType.Float32), config);
        return EvalScores.Needle(cache, prompts[0].Length, prompts, answers, ids => EvalModel.Tokenizer.Decode(ids, skipSpecialTokens: false), 1, use);
    }

    private static CpuBackendOptions Options(LatentSpec spec, LatentBasis? basis, int length) => new()
    {
        Slots = 3,
        MaxModelLength = length,
        CacheBytes = 128L << 20,
        Spec = spec,
        Basis = basis,
        Threads = 2,
    };
}
