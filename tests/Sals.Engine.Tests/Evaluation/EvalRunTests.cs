using Sals.Engine.Backends.Cpu;
using Sals.Engine.Evaluation;
using Sals.Engine.Evaluation.Results;
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
        var row = EvalScores.Perplexity(spec.Name, Prompt, answers, 1, CacheUse.Of([.. answers.Select(answer => answer.Trace)], [window.Length], layout, weights.Config));

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
        var task = EvalModel.Tasks.Parse("single", _ => { })[0];
        EvalItem[] items = [.. Enumerable.Range(0, 3).Select(i => EvalModel.Prompts.Draw(task, length, 1, i))];
        var (dense, denseUse) = await AskAsync(folder, items, null, "dense");
        Assert.All(dense, result => Assert.Equal(1, result.Score));
        Assert.Equal(0, denseUse.SparsePairShare);
        Assert.Null(denseUse.Problem);
        Assert.Equal(1, denseUse.ModelRatio);
        Assert.Equal(1, denseUse.AccessRatio);

        var (sparse, use) = await AskAsync(folder, items, null, "sals-25", "sparsity=8", "dense_below=0");
        Assert.All(sparse, result => Assert.Equal(1, result.Score));
        Assert.Null(use.Problem);
        Assert.Equal(1, use.SparseTokenShare);
        Assert.Equal(5.0 / 8, use.SparsePairShare, 1e-12);
        Assert.Equal(use.ExpectedBytesPerToken, use.MeasuredBytesPerToken);
        Assert.Equal(denseUse.MeasuredBytesPerToken, use.DenseBytesPerToken);
        Assert.InRange(use.ModelRatio, 0.3, 0.8);
        // D/2 latents of 8 bits and 4 + 1 bits a value: of 16-bit keys and values 0.28125, the paper's 0.28
        Assert.Equal(0.28125, use.LayerRatio16, 1e-12);
        Assert.Equal(0.140625, use.LayerRatio, 1e-12);
        // by hand for a sequence of n tokens, in 16-bit numbers: exact 512 a token outside the candidates, 32 of every candidate, 64 and 256 * 5 / 16 of the selected
        double read = 0, whole = 0;
        foreach (var n in sparse.Select(result => result.CacheTokens))
        {
            var window = (n - 64) / 64 * 64;
            read += (512.0 * (16 + n - window)) + (32.0 * (window - 16)) + ((64 + 80.0) * (n / 8));
            whole += 512.0 * n;
        }

        Assert.Equal(read / whole, use.LayerAccessRatio16, 1e-12);

        var (_, never) = await AskAsync(folder, items[..1], null, "sals-25", "dense_below=2048");
        Assert.True(never.Unused);
        Assert.Contains("sparse share 0", never.Problem);
    }

    [Fact]
    public async Task A_shared_prefill_gives_the_answers_of_one_that_was_computed()
    {
        using var folder = ModelFolder.Open(GoldenFolders.Embedded);
        var tasks = EvalModel.Tasks.Parse("lines,kv_uuid", _ => { });
        EvalItem[] items = [.. tasks.Select(task => EvalModel.Prompts.Draw(task, 400, 3, 0))];
        var share = new PrefillShare();
        var (alone, _) = await AskAsync(folder, items, null, "sals-12.5", "dense_below=0", "sparsity=8");
        await AskAsync(folder, items, share, "dense");
        var (shared, use) = await AskAsync(folder, items, share, "sals-12.5", "dense_below=0", "sparsity=8");
        Assert.Equal(alone, shared);
        Assert.Null(use.Problem);

        // the share is really used: other keys of the same prompt give another answer
        var wrong = new PrefillShare();
        wrong.Add(new SharedPrefill(items[0].Prompt, folder.Config));
        wrong.Find(items[0].Prompt)!.Hidden.AsSpan().Fill(1);
        for (var token = 0; token < items[0].Prompt.Length; token++)
        {
            for (var layer = 0; layer < folder.Config.LayerCount; layer++)
            {
                wrong.Find(items[0].Prompt)!.Keys(layer, token).Fill(1);
                wrong.Find(items[0].Prompt)!.Values(layer, token).Fill(1);
            }
        }

        var (spoilt, _) = await AskAsync(folder, items, wrong, "dense");
        Assert.Equal(0, spoilt[0].Score);
        Assert.Equal(1, spoilt[1].Score);
    }

    [Fact]
    public async Task A_failed_request_fails_the_evaluation()
    {
        await using var harness = await EngineHarness.StartAsync(() => new FakeBackend());
        int[] huge = [.. Enumerable.Repeat(1, harness.Info.MaxModelLength)];
        var run = new EvalRun(harness.Engine, 2);
        await Assert.ThrowsAsync<ArgumentException>(() => run.ForceAsync([huge], huge.Length, TestContext.Current.CancellationToken));
    }

    private static async Task<(EvalResult[] Results, CacheUse Use)> AskAsync(ModelFolder folder, EvalItem[] items, PrefillShare? share, string cache, params string[] settings)
    {
        var config = folder.Config;
        var spec = LatentSpecParser.Parse(cache, settings, config);
        var basis = spec.IsDense
            ? null
            : LatentBasisFile.Read(Path.Combine(GoldenFolders.Embedded, "sals-basis.safetensors"), spec, config, ModelFingerprint.Of(folder.Weights));
        await using var harness = await EngineHarness.StartAsync(() => new CpuBackend(folder.Weights, Options(spec, basis, items.Max(item => item.MaxLength))) { Share = share });
        var answers = await new EvalRun(harness.Engine, 3).AnswerAsync(items, config.EndTokenIds, TestContext.Current.CancellationToken);
        return (
            [.. items.Zip(answers, (item, answer) => EvalResult.Of(cache, item, answer, EvalModel.Tokenizer.Decode(answer.Tokens, skipSpecialTokens: false)))],
            CacheUse.Of([.. answers.Select(answer => answer.Trace)], [.. items.Select(item => item.MaxLength)], new PageLayout(config, spec, ElementType.Float32), config));
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
