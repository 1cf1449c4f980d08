using System.Text.RegularExpressions;
using Sals.Engine;
using Sals.Server.Telemetry;
using Sals.Server.Tests.Flow;
using Sals.Testing;
using Xunit;

namespace Sals.Server.Tests.Telemetry;

public class MetricsTests
{
    private static readonly string GoldenFile = Path.Combine(AppContext.BaseDirectory, "Telemetry", "metrics.golden.txt");

    [Fact]
    public void Names_types_labels_and_buckets_are_golden()
    {
        // values apart, this is everything a dashboard depends on; add lines, never change them
        var shape = Regex.Replace(New().Write(), "^(?!#)(.*) [^ ]+$", "$1", RegexOptions.Multiline);
        shape = Regex.Replace(shape, "^# HELP .*\n", "", RegexOptions.Multiline);
        File.WriteAllText(Path.ChangeExtension(GoldenFile, "actual.txt"), shape);
        Assert.Equal(File.ReadAllText(GoldenFile).ReplaceLineEndings("\n"), shape);
    }

    [Fact]
    public void Every_series_is_there_from_the_start_with_0()
    {
        foreach (var line in New().Write().Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(line => line[0] != '#'))
        {
            var constant = new[] { "vllm:cache_config_info", "sals:cache_compression_info", "sals:cache_capacity_tokens", "sals:cache_bytes_per_token", "sals:lane_tokens", "process_" }
                .Any(name => line.StartsWith(name, StringComparison.Ordinal));
            Assert.True(constant || line.EndsWith(" 0.0", StringComparison.Ordinal), line);
        }
    }

    [Fact]
    public void A_request_is_counted_in_cumulative_buckets()
    {
        var metrics = New();
        var second = TimeProvider.System.TimestampFrequency;
        var trace = new GenerationTrace
        {
            Arrived = second,
            Started = 2 * second,
            FirstToken = 4 * second,
            LastToken = 8 * second,
            Finished = 8 * second,
            GeneratedTokens = 5,
            CachedTokens = 64,
        };
        metrics.RequestFinished(EngineHarness.Request([.. new int[100]], 10), trace, completed: true);
        metrics.ChoiceFinished(FinishReason.Length);
        var text = metrics.Write();
        const string labels = "model_name=\"m\",engine=\"0\"";
        Assert.Contains($"vllm:time_to_first_token_seconds_bucket{{{labels},le=\"2.5\"}} 0.0\n", text);
        Assert.Contains($"vllm:time_to_first_token_seconds_bucket{{{labels},le=\"5.0\"}} 1.0\n", text);
        Assert.Contains($"vllm:time_to_first_token_seconds_bucket{{{labels},le=\"+Inf\"}} 1.0\n", text);
        Assert.Contains($"vllm:time_to_first_token_seconds_sum{{{labels}}} 3.0\n", text);
        Assert.Contains($"vllm:request_time_per_output_token_seconds_sum{{{labels}}} 1.0\n", text);
        Assert.Contains($"vllm:request_queue_time_seconds_sum{{{labels}}} 1.0\n", text);
        Assert.Contains($"vllm:request_prefill_time_seconds_sum{{{labels}}} 2.0\n", text);
        Assert.Contains($"vllm:request_decode_time_seconds_sum{{{labels}}} 4.0\n", text);
        Assert.Contains($"vllm:e2e_request_latency_seconds_sum{{{labels}}} 7.0\n", text);
        Assert.Contains($"vllm:request_prefill_kv_computed_tokens_sum{{{labels}}} 36.0\n", text);
        Assert.Contains($"vllm:request_success_total{{{labels},finished_reason=\"length\"}} 1.0\n", text);
    }

    /// <summary>What vLLM's names break by being what they are; nothing of our own may be here.</summary>
    private static readonly string[] ForcedByNames =
    [
        "metric names should not contain ':'",
        "vllm:iteration_tokens_total non-counter metrics should not have \"_total\" suffix",
    ];

    [Fact]
    public async Task A_loaded_servers_scrape_is_clean_to_promtool_and_has_what_dashboards_query()
    {
        await using var server = await TestServer.StartAsync();
        const string body = """{"prompt":[1,2,3],"max_tokens":20,"ignore_eos":true,"n":2}""";
        await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => server.PostJsonAsync("/v1/completions", body)));
        await server.QuietAsync();
        var scrape = await server.Client.GetStringAsync("/metrics");
        foreach (var name in QueriedByDashboards)
        {
            Assert.Matches($"(?m)^{name}\\{{.*model_name=\"fake\"", scrape);
        }

        Assert.Matches("(?m)^vllm:iteration_tokens_total_count\\{[^}]*\\} [1-9]", scrape);
        var problems = await Outside.CheckMetricsAsync(scrape);
        Assert.All(problems, problem => Assert.Contains(ForcedByNames, problem.EndsWith));
    }

    /// <summary>Series of an engine that the two dashboards of vLLM's production stack and the benchmarks' query lists ask for.</summary>
    private static readonly string[] QueriedByDashboards =
    [
        "vllm:e2e_request_latency_seconds_bucket", "vllm:e2e_request_latency_seconds_count", "vllm:e2e_request_latency_seconds_sum",
        "vllm:generation_tokens_total", "vllm:gpu_prefix_cache_hits_total", "vllm:gpu_prefix_cache_queries_total",
        "vllm:inter_token_latency_seconds_bucket", "vllm:iteration_tokens_total_bucket", "vllm:kv_cache_usage_perc",
        "vllm:num_preemptions_total", "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:prefix_cache_hits_total",
        "vllm:prefix_cache_queries_total", "vllm:prompt_tokens_total", "vllm:request_decode_time_seconds_sum",
        "vllm:request_generation_tokens_bucket", "vllm:request_max_num_generation_tokens_sum", "vllm:request_prefill_time_seconds_sum",
        "vllm:request_prompt_tokens_bucket", "vllm:request_queue_time_seconds_sum", "vllm:request_success_total",
        "vllm:request_time_per_output_token_seconds_count", "vllm:request_time_per_output_token_seconds_sum",
        "vllm:time_to_first_token_seconds_bucket", "vllm:time_to_first_token_seconds_count", "vllm:time_to_first_token_seconds_sum",
    ];

    [Fact]
    public void Label_values_are_escaped() =>
        Assert.Equal("""{a="x\\y\"z\n"}""", MetricFamily.Labels(("a", "x\\y\"z\n")));

    private static SalsMetrics New() => new("m", new EngineStats(), new FakeBackend(slots: 4, maxModelLength: 1024, pages: 64).Info, true, TimeProvider.System);
}
