using System.Net;
using System.Net.Sockets;
using System.Text;
using Sals.Server.Load;
using Sals.Server.Tests.Flow;
using Sals.Testing;
using Xunit;

namespace Sals.Server.Tests.Load;

/// <summary>sals load against real servers: ours on a fake backend, and small ones that misbehave.</summary>
public class LoadRunTests
{
    [Theory]
    [InlineData(LoadApi.Completions)]
    [InlineData(LoadApi.Chat)]
    public async Task Counts_what_the_server_counts(LoadApi api)
    {
        await using var server = await TestServer.StartAsync();
        var report = await LoadAsync(Options(server) with
        {
            Api = api,
            Requests = 40,
            MaxConcurrency = 4,
            InputLength = 50,
            PrefixLength = 128,
            OutputLength = 12,
            RangeRatio = 0.5,
            IgnoreEndToken = true,
            Goals = [new LoadGoal(LoadMetric.E2el, 60_000)],
        });
        Assert.Empty(report.Failures);
        Assert.Equal(40, report.Completed.Count);
        Assert.Equal(40, report.Good);
        // one warm-up beside them
        Assert.InRange(server.Stats.GeneratedTokens, report.OutputTokens + 6, report.OutputTokens + 18);
        Assert.All(report.Completed, result => Assert.Equal(result.OutputTokens, result.Gaps.Count + 1));
        Assert.All(report.Completed, result => Assert.InRange(result.First, result.Sent, result.End));
        Assert.InRange(report.PeakConcurrency(), 2, 4);
        if (api == LoadApi.Completions)
        {
            Assert.All(report.Completed, result => Assert.InRange(result.PromptTokens, 128 + 25, 128 + 75));
            Assert.True(report.CachedTokens > 0, "the common prefix is two pages");
        }
    }

    [Fact]
    public async Task A_request_that_waits_its_turn_is_late_from_when_it_was_due()
    {
        // one at a time, each at least 6 steps of 10 ms; ten are due within 100 ms
        await using var server = await TestServer.StartAsync(null, () => new FakeBackend { OnSubmit = _ => Thread.Sleep(10) });
        var report = await LoadAsync(Options(server) with { Requests = 10, RequestRate = 100, MaxConcurrency = 1, InputLength = 5, OutputLength = 6, IgnoreEndToken = true });
        Assert.Equal(10, report.Completed.Count);
        Assert.Equal(report.Completed.OrderBy(result => result.Sent).Select(result => result.Number), report.Completed.Select(result => result.Number));
        Assert.True(report.Completed[^1].FirstToken > 0.3, $"the last one's first token came {report.Completed[^1].FirstToken:0.000} s after it was due");
        Assert.True(report.Lag > 200, "the wait at the client is said too");
    }

    [Fact]
    public async Task Refusals_are_counted_by_status()
    {
        using var gate = new ManualResetEventSlim();
        await using var server = await TestServer.StartAsync(options => options with { MaxQueued = 0 }, () => new FakeBackend(slots: 2) { OnSubmit = _ => gate.Wait() });
        var running = LoadAsync(Options(server) with { Requests = 20, InputLength = 5, OutputLength = 5, Warmups = 0 });
        await Task.Delay(1500);
        gate.Set();
        var report = await running;
        Assert.Equal(2, report.Completed.Count);
        var failure = Assert.Single(report.Failures);
        Assert.Equal(("HTTP 429", 18), (failure.Kind, failure.Count));
        Assert.Contains("Retry later", failure.Example);
    }

    [Fact]
    public async Task A_stream_that_fails_midway_is_a_stream_error()
    {
        await using var server = await TestServer.StartAsync(null, () => new FakeBackend { FaultAtStep = 6 });
        var report = await LoadAsync(Options(server) with { Requests = 1, InputLength = 5, OutputLength = 50, IgnoreEndToken = true, Warmups = 0 });
        var failure = Assert.Single(report.Failures);
        // the fault may come before the status has been sent
        Assert.Contains(failure.Kind, new[] { "stream error", "HTTP 500", "incomplete", "reset" });
        Assert.Empty(report.Completed);
    }

    [Theory]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: {\"choices\":[{\"text\":\"a\"}]}\n\n", "incomplete")]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: {\"error\":{\"message\":\"broken\"}}\n\n", "stream error")]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: nonsense\n\ndata: [DONE]\n\n", "stream error")]
    [InlineData("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbusy", "HTTP 503")]
    [InlineData("HTTP/1.1 200 OK\r\nContent-Length: 100\r\nConnection: close\r\n\r\ndata: ", "incomplete")]
    public async Task Bad_answers_have_a_class(string answer, string kind)
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var serving = AnswerAsync(listener, answer);
        using var client = new LoadClient(new LoadOptions { BaseUrl = $"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}" });
        var result = new LoadResult { Number = 0, Due = 0 };
        await client.SendAsync(result, "{}"u8.ToArray(), System.Diagnostics.Stopwatch.GetTimestamp(), CancellationToken.None);
        await serving;
        Assert.Equal(kind, result.Failure);
    }

    [Fact]
    public async Task Events_without_usage_and_in_pieces_are_read()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var serving = AnswerAsync(
            listener, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n: ping\n\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\"}}]}\r\n\r\nda",
            "ta:{\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\"b\"},\"finish_reason\":null}]}\n\n", "data: [DONE]\n\n");
        using var client = new LoadClient(new LoadOptions { BaseUrl = $"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}", Api = LoadApi.Chat });
        var result = new LoadResult { Number = 0, Due = 0 };
        await client.SendAsync(result, "{}"u8.ToArray(), System.Diagnostics.Stopwatch.GetTimestamp(), CancellationToken.None);
        await serving;
        Assert.Null(result.Failure);
        Assert.Equal(2, result.OutputTokens);
        Assert.True(result.First > 0.1, "the role is no token");
        Assert.Single(result.Gaps);
    }

    [Fact]
    public async Task A_server_that_is_not_there_is_said_so()
    {
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var url = $"http://127.0.0.1:{((IPEndPoint)listener.LocalEndpoint).Port}";
        listener.Stop();
        var exception = await Assert.ThrowsAsync<LoadException>(() => LoadAsync(new LoadOptions { BaseUrl = url }));
        Assert.StartsWith($"No server at {url}: ", exception.Message);
    }

    [Fact]
    public async Task What_the_server_has_not_is_said_before_the_load()
    {
        await using var server = await TestServer.StartAsync(options => options with { ApiKeys = ["k"] });
        var options = Options(server) with { ApiKey = "k" };
        Assert.Contains("401", (await Assert.ThrowsAsync<LoadException>(() => LoadAsync(options with { ApiKey = "wrong" }))).Message);
        Assert.Contains("has fake, org/alias", (await Assert.ThrowsAsync<LoadException>(() => LoadAsync(options with { Model = "other" }))).Message);
        Assert.Contains("do not fit the 1024 tokens", (await Assert.ThrowsAsync<LoadException>(() => LoadAsync(options with { InputLength = 1000, OutputLength = 100 }))).Message);
    }

    private static LoadOptions Options(TestServer server) => new() { BaseUrl = server.Address.ToString().TrimEnd('/'), VocabularySize = 900 };

    private static async Task<LoadReport> LoadAsync(LoadOptions options)
    {
        using var client = new LoadClient(options);
        var model = await client.ModelAsync(CancellationToken.None);
        var run = new LoadRun(options, client);
        var seconds = await run.RunAsync(model, CancellationToken.None);
        return new LoadReport(options, model, DateTimeOffset.UnixEpoch, run.Results, seconds, [50, 99]);
    }

    /// <summary>Answers one request with these bytes, 150 ms apart, and closes.</summary>
    private static async Task AnswerAsync(TcpListener listener, params string[] parts)
    {
        using var socket = await listener.AcceptTcpClientAsync();
        var stream = socket.GetStream();
        await stream.ReadAtLeastAsync(new byte[1000], 20);
        foreach (var part in parts)
        {
            await stream.WriteAsync(Encoding.ASCII.GetBytes(part));
            await Task.Delay(150);
        }
    }
}
