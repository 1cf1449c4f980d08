using System.Text.Json;
using Sals.Server.Hosting;
using Sals.Server.Load;
using Sals.Server.Options;
using Sals.Server.Tests.Flow;
using Xunit;

namespace Sals.Server.Tests.Deploy;

/// <summary>Under load every figure of the dashboard shows something: the embedded model with a compressed cache, prefixes, refusals and a client that leaves.</summary>
public class LoadedDashboardTests
{
    /// <summary>What this load does not do, and why: all that may stay 0.</summary>
    private static readonly string[] Still =
    [
        // the pool holds everything that the gate admits
        "vllm:num_preemptions_total",
        "vllm:prompt_tokens_recomputed_total",
    ];

    [Fact]
    public async Task Every_metric_of_a_panel_moves_under_load()
    {
        await using var server = await TestServer.StartAsync(
            given => ModelOpener.Open(given, _ => { }),
            given => given with { KvCache = "sals-25", CacheSettings = ["dense_below=0", "critical_min=1"], MaxModelLength = 2048, MaxSequences = 4, MaxQueued = 2, Device = DeviceChoice.Cpu });
        using var dashboard = JsonDocument.Parse(File.ReadAllText(Path.Combine(Outside.Root, "deploy", "grafana", "sals.json")));
        var asked = dashboard.RootElement.GetProperty("panels").EnumerateArray()
            .SelectMany(panel => panel.TryGetProperty("targets", out var targets) ? targets.EnumerateArray().ToArray() : [])
            .SelectMany(target => PromQuery.Metrics(target.GetProperty("expr").GetString()!)).Where(name => name != "up").Distinct().ToArray();
        Assert.InRange(asked.Length, 30, 200);

        // gauges are seen while the load runs, counters afterwards: the most of each counts
        var most = asked.ToDictionary(name => name, _ => 0.0);
        var options = new LoadOptions
        {
            BaseUrl = server.Address.ToString().TrimEnd('/'),
            Requests = 12,
            MaxConcurrency = 10,
            InputLength = 160,
            PrefixLength = 150,
            OutputLength = 20,
            IgnoreEndToken = true,
            Warmups = 1,
        };
        using var client = new LoadClient(options);
        var running = new LoadRun(options, client).RunAsync(await client.ModelAsync(CancellationToken.None), CancellationToken.None);
        while (!running.IsCompleted)
        {
            await LookAsync();
            await Task.Delay(20);
        }

        await running;
        using (var cancel = new CancellationTokenSource())
        {
            var leaving = server.PostAsync("/v1/completions", """{"prompt":[100,200],"max_tokens":1500,"ignore_eos":true}""", cancel.Token);
            await server.UntilRunningAsync();
            await cancel.CancelAsync();
            await Assert.ThrowsAnyAsync<OperationCanceledException>(() => leaving);
        }

        await server.QuietAsync();
        await LookAsync();
        Assert.Equal(string.Join(' ', Still), string.Join(' ', most.Where(pair => pair.Value == 0).Select(pair => pair.Key).Order(StringComparer.Ordinal)));

        async Task LookAsync()
        {
            var scrape = new Exposition(await server.Client.GetStringAsync("/metrics"));
            foreach (var name in asked)
            {
                most[name] = Math.Max(most[name], scrape.Sum(name));
            }
        }
    }
}
