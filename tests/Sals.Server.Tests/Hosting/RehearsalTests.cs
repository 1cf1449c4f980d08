using Sals.Engine.Models;
using Sals.Engine.Text;
using Sals.Server.Hosting;
using Sals.Server.Options;
using Sals.Server.Tests.Flow;
using Sals.Testing;
using Xunit;

namespace Sals.Server.Tests.Hosting;

public sealed class RehearsalTests
{
    private static readonly string[] Counters =
    [
        "vllm:request_success_total", "vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:prefix_cache_queries_total", "vllm:admission_rejections_total",
        "vllm:e2e_request_latency_seconds_count", "vllm:time_to_first_token_seconds_count", "sals:steps_total",
    ];

    [Fact]
    public async Task Goes_the_whole_way_with_the_models_own_tokenizer_and_template()
    {
        var answers = await Rehearsal.RunAsync(SalsOptions.Default with { ApiKeys = ["secret"] }, Tiny(() => throw new InvalidOperationException("the real backend")));
        Assert.Equal(6, answers.Count);
        Assert.All(answers, answer => Assert.Equal(200, answer.Status));
        Assert.EndsWith("data: [DONE]\n\n", answers[0].Body);
        Assert.Contains("chat.completion.chunk", answers[0].Body);
        Assert.Contains("\"completion_tokens\":4", answers[2].Body);
    }

    [Fact]
    public async Task A_model_without_tokenizer_or_template_refuses_what_it_refuses()
    {
        var model = Tiny(() => throw new InvalidOperationException("the real backend")) with { Tokenizer = null, Template = null };
        var answers = await Rehearsal.RunAsync(SalsOptions.Default with { SkipTokenizer = true }, model);
        Assert.Equal([400, 200, 400, 400, 200, 400], answers.Select(answer => answer.Status));
    }

    [Fact]
    public async Task Leaves_no_trace_in_metrics_log_or_cache()
    {
        await using var server = await TestServer.StartAsync(
            options =>
            {
                var model = Tiny(() => new FakeBackend(slots: 8, maxModelLength: 512, vocabulary: 8192));
                Assert.NotEmpty(Rehearsal.RunAsync(options, model).GetAwaiter().GetResult());
                return model;
            });
        var metrics = (await server.Client.GetStringAsync("/metrics")).Split('\n');
        foreach (var counter in Counters)
        {
            var lines = metrics.Where(line => line.StartsWith(counter, StringComparison.Ordinal)).ToList();
            Assert.NotEmpty(lines);
            Assert.All(lines, line => Assert.EndsWith(" 0.0", line));
        }

        Assert.Equal(0, server.Stats.CacheBytesCached + server.Stats.CacheBytesUsed);
        Assert.DoesNotContain(server.Logs.Lines, line => line.Contains("/v1/", StringComparison.Ordinal));
    }

    private static LoadedModel Tiny(Func<Engine.Backends.IStepBackend> backend)
    {
        var folder = ModelLocator.ForThisProcess.Locate(null);
        return TestServer.Fake(backend) with
        {
            Tokenizer = TokenizerLoader.Open(folder),
            Template = ChatRendering.With(ChatTemplate.Load(folder)!),
            EndTokenIds = [2],
            VocabularySize = 8192,
        };
    }
}
