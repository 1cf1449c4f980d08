using System.Globalization;
using System.Text.RegularExpressions;
using Xunit;

namespace Sals.Server.Tests.Abuse;

/// <summary>
/// A server process under mixed load, disconnects, bad requests and bursts beyond its capacity. Afterwards nothing is stuck, nothing is held, and
/// memory has not grown. SALS_SOAK_SECONDS sets how long (1800 for the run whose figures docs/benchmarks.md gives).
/// </summary>
[Collection(nameof(Alone))]
public class SoakTests
{
    /// <summary>A run at least so long is held to the 5% of memory; a shorter one is still warming up.</summary>
    private const double LongRun = 600;

    [Fact]
    public async Task Mixed_load_leaves_nothing_stuck_held_or_grown()
    {
        var duration = double.TryParse(Environment.GetEnvironmentVariable("SALS_SOAK_SECONDS"), CultureInfo.InvariantCulture, out var asked) ? asked : 40;
        var seed = Environment.TickCount;
        await using var server = await ServerProcess.StartAsync(
            0, "--max-model-len", "2048", "--max-num-seqs", "8", "--max-num-queued-reqs", "16", "--kv-cache-memory-bytes", "256MiB");
        var traffic = new SoakTraffic(server.Client, seed);
        using var end = new CancellationTokenSource(TimeSpan.FromSeconds(duration));
        var workers = Enumerable.Range(0, 8).Select(worker => Task.Run(() => traffic.WorkAsync(worker, end.Token))).Append(Task.Run(() => traffic.BurstAsync(end.Token))).ToArray();

        var memory = new List<(double Second, long Bytes)>();
        var watch = System.Diagnostics.Stopwatch.StartNew();
        while (!end.IsCancellationRequested)
        {
            memory.Add((watch.Elapsed.TotalSeconds, server.WorkingSet));
            await Task.Delay(1000);
        }

        await Task.WhenAll(workers).WaitAsync(TimeSpan.FromMinutes(6));
        var figures = await QuietAsync(server);
        // after the first third everything that is kept for later has been used once
        var early = Mean(memory, duration / 3, duration / 3 * 1.3);
        var late = Mean(memory, duration * 0.9, duration);
        var report = string.Create(CultureInfo.InvariantCulture,
            $"soak of {duration:0} s from seed {seed}: {traffic.Report()}; working set {early / 1e6:0.0} MB after warm-up, {late / 1e6:0.0} MB at the end ({(late / early) - 1:+0.0%;-0.0%}), most {memory.Max(one => one.Bytes) / 1e6:0.0} MB; {figures}");
        TestContext.Current.TestOutputHelper?.WriteLine(report);
        TestContext.Current.SendDiagnosticMessage(report);

        Assert.True(traffic.Problems.IsEmpty, report + "\n" + string.Join('\n', traffic.Problems.Take(20)));
        Assert.True(traffic.Refused > 0, report);
        Assert.True(late <= early * (duration >= LongRun ? 1.05 : 1.6), report);
        Assert.DoesNotContain(server.Lines, line => line.Contains("Unexpected failure", StringComparison.Ordinal));
        Assert.Equal(0, await server.TerminateAsync());
    }

    /// <summary>Waits until /metrics says that nothing runs, waits or is held.</summary>
    private static async Task<string> QuietAsync(ServerProcess server)
    {
        var until = DateTime.UtcNow.AddSeconds(30);
        while (true)
        {
            var text = await server.Client.GetStringAsync("/metrics");
            var held = Regex.Matches(text, @"^(vllm:num_requests_running|vllm:num_requests_waiting|sals:cache_pages_used)\{.*\} (?<value>\S+)$", RegexOptions.Multiline);
            Assert.True(held.Count >= 5, "the gauges are missing");
            if (held.All(match => match.Groups["value"].Value == "0.0"))
            {
                return "nothing running, waiting or held in any pool";
            }

            Assert.True(DateTime.UtcNow < until, string.Join('\n', held.Select(match => match.Value)));
            await Task.Delay(100);
        }
    }

    private static double Mean(List<(double Second, long Bytes)> samples, double from, double to) =>
        samples.Where(one => one.Second >= from && one.Second <= to).Select(one => (double)one.Bytes).DefaultIfEmpty(samples[^1].Bytes).Average();
}

/// <summary>Tests that take both cores for themselves run after the others.</summary>
[CollectionDefinition(nameof(Alone), DisableParallelization = true)]
public sealed class Alone;
