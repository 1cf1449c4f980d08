using System.Globalization;
using Sals.Engine.Backends.Cpu;
using Sals.Engine.Evaluation;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Tests.Models;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Evaluation;

/// <summary>Int8 keys and values of the embedded model, in all its layers: what they cost beside exact ones.</summary>
public class DenseFormatTests(ITestOutputHelper output)
{
    private const int Prompt = 384;
    private const int Forced = 96;
    private const int Windows = 4;

    [Fact]
    public async Task Int8_changes_neither_answers_nor_perplexity()
    {
        var stop = TestContext.Current.CancellationToken;
        using var folder = ModelFolder.Open(GoldenFolders.Embedded);
        var tasks = EvalModel.Tasks.Parse("lines,kv_uuid,record", _ => { });
        EvalItem[] items = [.. from task in tasks from i in Enumerable.Range(0, 2) select EvalModel.Prompts.Draw(task, 512, 5, i)];
        var windows = EvalModel.Text.Windows(EvalModel.Tokenizer, Windows, Prompt + 1 + Forced);
        var share = new PrefillShare();
        var (exact, exactNats, exactUse) = await RunAsync("exact");
        var (coded, codedNats, codedUse) = await RunAsync("int8");
        var difference = SampleMean.Of([.. codedNats.Zip(exactNats, (one, other) => one - other)]);
        output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{difference.Mean:+0.00000;-0.00000} ± {difference.StandardError:0.00000} nats a token; {codedUse.MeasuredBytesPerToken:#,0} bytes a token of {exactUse.MeasuredBytesPerToken:#,0}"));
        Assert.Equal(exact, coded);
        Assert.InRange(difference.Mean, -0.005, 0.005);
        Assert.NotEqual(exactNats, codedNats);
        Assert.Null(codedUse.Problem);

        // float32 on the CPU: a byte a channel and two for a head, K and V alike
        var size = folder.Config.HeadSize;
        Assert.Equal((size + 2) / (4.0 * size), codedUse.ModelRatio, 2e-3);
        Assert.Equal((size + 2) / (4.0 * size), codedUse.AccessRatio, 1e-12);

        async Task<(string[] Texts, double[] Nats, CacheUse Use)> RunAsync(string format)
        {
            var spec = LatentSpecParser.Parse("dense", [$"dense_format={format}"], folder.Config);
            var length = Math.Max(items.Max(item => item.MaxLength), Prompt + 1 + Forced);
            await using var harness = await EngineHarness.StartAsync(() => new CpuBackend(
                folder.Weights, new CpuBackendOptions { Slots = 4, MaxModelLength = length, CacheBytes = 128L << 20, Spec = spec })
            { Share = share });
            var run = new EvalRun(harness.Engine, 4);
            var answers = await run.AnswerAsync(items, folder.Config.EndTokenIds, stop);
            var forced = await run.ForceAsync(windows, Prompt, stop);
            return (
                [.. answers.Select(answer => EvalModel.Tokenizer.Decode(answer.Tokens, skipSpecialTokens: false))],
                [.. forced.Select(answer => answer.LogProbabilities.Skip(1).Average(value => -(double)value))],
                CacheUse.Of(
                    [.. forced.Select(answer => answer.Trace)], [.. windows.Select(window => window.Length)], new PageLayout(folder.Config, spec, ElementType.Float32), folder.Config));
        }
    }
}
