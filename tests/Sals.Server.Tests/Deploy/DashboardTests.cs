using System.Text.Json;
using System.Text.RegularExpressions;
using Sals.Server.Tests.Flow;
using Xunit;

namespace Sals.Server.Tests.Deploy;

/// <summary>What dashboard, alerts and autoscaler ask Prometheus for is what a server that serves exports, label by label.</summary>
public partial class DashboardTests
{
    [Fact]
    public async Task Every_metric_and_label_of_a_panel_is_exported()
    {
        using var dashboard = JsonDocument.Parse(Read("deploy/grafana/sals.json"));
        var scrape = await ScrapeAsync();
        var (asked, problems) = (0, new List<string>());
        foreach (var panel in dashboard.RootElement.GetProperty("panels").EnumerateArray())
        {
            foreach (var target in panel.TryGetProperty("targets", out var targets) ? targets.EnumerateArray() : default)
            {
                asked++;
                problems.AddRange(PromQuery.Problems(Text(target, "expr"), scrape, Text(target, "legendFormat"))
                    .Select(problem => $"{Text(panel, "title")}: {problem}"));
            }
        }

        Assert.Empty(problems);
        Assert.InRange(asked, 50, 200);
    }

    [Fact]
    public async Task The_variables_of_the_dashboard_have_values()
    {
        using var dashboard = JsonDocument.Parse(Read("deploy/grafana/sals.json"));
        var scrape = await ScrapeAsync();
        var variables = dashboard.RootElement.GetProperty("templating").GetProperty("list").EnumerateArray()
            .Where(one => Text(one, "type") == "query").ToArray();
        Assert.Equal(["model_name", "instance"], variables.Select(one => Text(one, "name")));
        foreach (var query in variables.Select(one => Text(one.GetProperty("query"), "query")))
        {
            var match = LabelValues().Match(query);
            Assert.True(match.Success, query);
            Assert.Empty(PromQuery.Problems($"sum by ({match.Groups["label"].Value}) ({match.Groups["selector"].Value})", scrape));
        }
    }

    [Fact]
    public async Task Every_metric_and_label_of_an_alert_is_exported()
    {
        var scrape = await ScrapeAsync();
        var expressions = Expression().Matches(Read("deploy/prometheus/rules.yml")).Select(match => match.Groups["text"].Value).ToArray();
        Assert.Equal(Regex.Count(Read("deploy/prometheus/rules.yml"), "- alert:"), expressions.Length);
        Assert.Empty(expressions.SelectMany(expression => PromQuery.Problems(expression, scrape)));
    }

    [Fact]
    public async Task The_autoscaler_asks_for_what_is_exported()
    {
        var query = Regex.Match(Read("deploy/k8s/components/autoscaling/scaledobject.yaml"), "^ *query: (.*)$", RegexOptions.Multiline).Groups[1].Value;
        Assert.Contains("reason=\"capacity\"", query);
        Assert.Empty(PromQuery.Problems(query, await ScrapeAsync()));
    }

    [Fact]
    public async Task Inference_gateways_find_queue_running_and_cache()
    {
        var scrape = await ScrapeAsync();
        Assert.All(["vllm:num_requests_waiting", "vllm:num_requests_running", "vllm:kv_cache_usage_perc"],
            metric => Assert.True(scrape.HasLabel(metric, "model_name"), metric));
        Assert.All(["block_size", "num_gpu_blocks"], label => Assert.True(scrape.HasLabel("vllm:cache_config_info", label), label));
    }

    [Theory]
    [InlineData("rate(vllm:no_such_total[5m])", "vllm:no_such_total is not exported")]
    [InlineData("sum by (pool) (sals:steps_total)", "sals:steps_total has no label pool to group by")]
    [InlineData("sals:cache_pages_used{pool=\"cold\"}", "sals:cache_pages_used has no pool=\"cold\"")]
    [InlineData("sals:steps_total{reason=~\"x\"}", "sals:steps_total has no label reason")]
    [InlineData("rate(http_requests_total[5m])", "'http_requests_total' is neither a metric nor a function known to this test")]
    public async Task What_is_missing_is_noticed(string expression, string problem) =>
        Assert.Equal([problem], PromQuery.Problems(expression, await ScrapeAsync()));

    [Fact]
    public async Task Promtool_accepts_the_rules_and_their_tests_pass()
    {
        await Outside.PromtoolAsync("deploy/prometheus", "check", "rules", "rules.yml");
        await Outside.PromtoolAsync("deploy/prometheus", "test", "rules", "rules.test.yml");
    }

    private static async Task<Exposition> ScrapeAsync()
    {
        await using var server = await TestServer.StartAsync();
        await server.PostJsonAsync("/v1/completions", """{"prompt":[1,2,3],"max_tokens":4,"ignore_eos":true}""");
        return new Exposition(await server.Client.GetStringAsync("/metrics"));
    }

    private static string Read(string path) => File.ReadAllText(Path.Combine(Outside.Root, path)).ReplaceLineEndings("\n");

    private static string Text(JsonElement element, string name) => element.GetProperty(name).GetString()!;

    [GeneratedRegex(@"^label_values\((?<selector>.+), (?<label>\w+)\)$")]
    private static partial Regex LabelValues();

    // a value on the same line, or the deeper lines after ">-"
    [GeneratedRegex(@"^ {8}expr: (>-\n(?<text>( {10}.*\n)+)|(?<text>[^>].*)\n)", RegexOptions.Multiline)]
    private static partial Regex Expression();
}
