using System.Text.RegularExpressions;
using Sals.Engine;
using Sals.Server.Telemetry;
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
        Assert.Equal(File.ReadAllText(GoldenFile).ReplaceLineEndings("\n"), shape);
    }

    [Fact]
    public void Every_series_is_there_from_the_start_with_0()
    {
        foreach (var line in New().Write().Split('\n', StringSplitOptions.RemoveEmptyEntries).Where(line => line[0] != '#'))
        {
            Assert.True(line.EndsWith(" 0.0", StringComparison.Ordinal) || line.StartsWith("vllm:cache_config_info", StringComparison.Ordinal), line);
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

    [Fact]
    public void Label_values_are_escaped() =>
        Assert.Equal("""{a="x\\y\"z\n"}""", MetricFamily.Labels(("a", "x\\y\"z\n")));

    private static SalsMetrics New() => new("m", new EngineStats(), new FakeBackend(slots: 4, maxModelLength: 1024, pages: 64).Info, true, TimeProvider.System);
}
