using System.Text.Json;
using Sals.Server.Load;
using Xunit;

namespace Sals.Server.Tests.Load;

public class LoadReportTests
{
    [Theory]
    [InlineData(0, 1)]
    [InlineData(50, 2.5)]
    [InlineData(90, 3.7)]
    [InlineData(100, 4)]
    public void Percentiles_are_numpys(double percent, double expected) => Assert.Equal(expected, LoadReport.Percentile([1, 2, 3, 4], percent), 1e-12);

    [Fact]
    public void Figures_of_a_run_known_by_heart()
    {
        // two requests of 5 and 1 tokens, due at 0 and 1 s; one refused
        var first = Done(0, due: 0, sent: 0.01, first: 0.1, end: 0.5, prompt: 10, output: 5);
        first.Gaps.AddRange([0.1f, 0.1f, 0.1f, 0.1f]);
        var second = Done(1, due: 1, sent: 1.2, first: 1.4, end: 1.4, prompt: 20, output: 1);
        var refused = new LoadResult { Number = 2, Due = 1.1, Sent = 1.1, End = 1.11, Failure = "HTTP 429", Detail = "full" };
        var options = new LoadOptions { BaseUrl = "http://x", Requests = 3, Goals = [new LoadGoal(LoadMetric.Ttft, 200), new LoadGoal(LoadMetric.Tpot, 150)] };
        var report = new LoadReport(options, "m", DateTimeOffset.UnixEpoch, [refused, second, first], 2, [50, 99]);

        Assert.Equal(2, report.Completed.Count);
        Assert.Equal([new LoadFailure("HTTP 429", 1, "full")], report.Failures);
        Assert.Equal(6, report.OutputTokens);
        Assert.Equal(30, report.InputTokens);
        // the second waited 200 ms at the client, which counts: 400 ms to its first token
        Assert.Equal(250, Of(report, LoadMetric.Ttft).Mean, 1e-6);
        Assert.Equal(1, Of(report, LoadMetric.Tpot).Count);
        Assert.Equal(100, Of(report, LoadMetric.Tpot).Mean, 1e-6);
        Assert.Equal(4, Of(report, LoadMetric.Itl).Count);
        Assert.Equal(450, Of(report, LoadMetric.E2el).Median, 1e-6);
        Assert.Equal(1, report.Good);
        Assert.Equal(1, report.PeakConcurrency());
        Assert.Equal(5, report.PeakTokens());

        using var stream = new MemoryStream();
        LoadJson.Write(stream, report, detailed: true);
        var json = JsonDocument.Parse(stream.ToArray()).RootElement;
        Assert.Equal(0.5, json.GetProperty("request_goodput").GetDouble());
        Assert.Equal(3, json.GetProperty("output_throughput").GetDouble());
        Assert.Equal(250, json.GetProperty("mean_ttft_ms").GetDouble(), 1e-6);
        Assert.Equal(1, json.GetProperty("failures").GetProperty("HTTP 429").GetInt32());
        Assert.Equal(JsonValueKind.Null, json.GetProperty("request_rate").ValueKind);
        Assert.Equal(3, json.GetProperty("requests").GetArrayLength());
    }

    [Fact]
    public void A_run_in_which_nothing_came_back_has_no_latencies_and_still_a_report()
    {
        var refused = new LoadResult { Number = 0, Due = 0, End = 0.1, Failure = "refused", Detail = "nobody there <b>" };
        var report = new LoadReport(new LoadOptions { BaseUrl = "http://x" }, "<script>", DateTimeOffset.UnixEpoch, [refused], 1, [99]);
        using var stream = new MemoryStream();
        LoadJson.Write(stream, report, detailed: false);
        Assert.Equal(JsonValueKind.Null, JsonDocument.Parse(stream.ToArray()).RootElement.GetProperty("p99_ttft_ms").ValueKind);
        var page = LoadPlot.Html(report);
        Assert.DoesNotContain("<script>", page);
        Assert.DoesNotContain("NaN", page);
    }

    private static LoadLatency Of(LoadReport report, LoadMetric metric) => report.Latencies.Single(latency => latency.Metric == metric);

    private static LoadResult Done(int number, double due, double sent, double first, double end, int prompt, int output) =>
        new() { Number = number, Due = due, Sent = sent, First = first, End = end, PromptTokens = prompt, OutputTokens = output };
}
