using System.Net;
using System.Net.Sockets;
using System.Text;
using Sals.Engine;
using Sals.Server.Hosting;
using Sals.Testing;
using Xunit;

namespace Sals.Server.Tests.Flow;

/// <summary>Loading, draining, disconnects and faults over real Kestrel.</summary>
public class LifeFlowTests
{
    private const string Long = """{"prompt":[1,2,3],"max_tokens":900,"ignore_eos":true,"stream":STREAM}""";

    [Fact]
    public async Task While_loading_every_route_says_503_with_retry_after_and_health_says_loading()
    {
        using var gate = new ManualResetEventSlim();
        await using var server = await TestServer.StartAsync(
            _ =>
            {
                gate.Wait();
                return TestServer.Fake(() => new FakeBackend());
            },
            waitUntilLoaded: false);
        foreach (var path in new[] { "/v1/models", "/metrics", "/health" })
        {
            using var response = await server.Client.GetAsync(path);
            Assert.Equal(HttpStatusCode.ServiceUnavailable, response.StatusCode);
            Assert.True(response.Headers.Contains("Retry-After"));
        }

        Assert.Contains("loading", await (await server.Client.GetAsync("/health")).Content.ReadAsStringAsync());
        Assert.Contains("\"code\":\"loading\"", await (await server.PostAsync("/v1/completions", "{}")).Content.ReadAsStringAsync());
        gate.Set();
        await server.Host.Loading;
        Assert.Equal("{\"status\":\"ok\"}", await server.Client.GetStringAsync("/health"));
    }

    [Fact]
    public async Task A_model_that_cannot_be_loaded_ends_the_server_with_an_error()
    {
        await using var server = await TestServer.StartAsync(_ => throw new SettingException("--max-model-len: too long"), waitUntilLoaded: false);
        Assert.Equal(ServerRun.FailedExitCode, await server.Exit.WaitAsync(TimeSpan.FromSeconds(20)));
        Assert.Contains(server.Logs.Lines, line => line.Contains("The model cannot be served: --max-model-len: too long"));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task A_disconnect_aborts_and_frees_every_page(bool stream)
    {
        await using var server = await TestServer.StartAsync(null, () => new FakeBackend { OnSubmit = _ => Thread.Sleep(2) });
        using var cancel = new CancellationTokenSource();
        var pending = server.PostAsync("/v1/completions", Long.Replace("STREAM", stream ? "true" : "false"), cancel.Token);
        while (server.Stats.GeneratedTokens < 5)
        {
            await Task.Delay(2);
        }

        await cancel.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () => await pending);
        await server.QuietAsync();
        Assert.InRange(server.Stats.GeneratedTokens, 5, 600);
        var metrics = await server.Client.GetStringAsync("/metrics");
        Assert.Contains("vllm:request_success_total{model_name=\"fake\",engine=\"0\",finished_reason=\"abort\"} 1.0", metrics);
        Assert.Contains(server.Logs.Lines, line => line.StartsWith("1 ") && line.Contains(" abort prompt=3"));
    }

    [Fact]
    public async Task Random_disconnects_leave_no_page_and_no_permit()
    {
        await using var server = await TestServer.StartAsync(options => options with { MaxQueued = 200 });
        var seed = Environment.TickCount;
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}");
        var random = new Random(seed);
        var plans = Enumerable.Range(0, 120).Select(i => (Stream: random.Next(2) == 0, Leave: random.Next(3) == 0 ? random.Next(1, 60) : -1, Length: random.Next(1, 200))).ToArray();
        await Parallel.ForEachAsync(plans, new ParallelOptions { MaxDegreeOfParallelism = 24 }, async (plan, _) =>
        {
            using var cancel = new CancellationTokenSource();
            if (plan.Leave > 0)
            {
                cancel.CancelAfter(plan.Leave);
            }

            try
            {
                var prompt = string.Join(',', Enumerable.Repeat(5, plan.Length));
                using var response = await server.PostAsync("/v1/completions", $"{{\"prompt\":[{prompt}],\"max_tokens\":60,\"n\":{(plan.Length % 3) + 1},\"stream\":{(plan.Stream ? "true" : "false")}}}", cancel.Token);
                Assert.Equal(200, (int)response.StatusCode);
            }
            catch (OperationCanceledException)
            {
                Assert.True(plan.Leave > 0);
            }
        });
        await server.QuietAsync();
        Assert.Equal("{\"status\":\"ok\"}", await server.Client.GetStringAsync("/health"));
    }

    [Fact]
    public async Task Draining_refuses_new_requests_lets_running_ones_finish_and_exits_0()
    {
        using var gate = new ManualResetEventSlim();
        var submitted = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        await using var server = await TestServer.StartAsync(options => options with { ShutdownTimeout = TimeSpan.FromSeconds(20) }, () => new FakeBackend
        {
            OnSubmit = _ =>
            {
                submitted.TrySetResult();
                gate.Wait();
            },
        });
        var running = server.PostJsonAsync("/v1/completions", """{"prompt":[1,2,3],"max_tokens":20,"ignore_eos":true}""");
        // a place at the gate is not enough: a drain that comes before the engine has the request refuses it
        await submitted.Task.WaitAsync(TimeSpan.FromSeconds(20));

        server.Stop();
        using var health = await WaitForDrainingAsync(server);
        Assert.Contains("draining", await health.Content.ReadAsStringAsync());
        using var refused = await server.PostAsync("/v1/completions", """{"prompt":[1]}""");
        Assert.Equal(503, (int)refused.StatusCode);
        Assert.Contains("\"code\":\"draining\"", await refused.Content.ReadAsStringAsync());
        Assert.True(refused.Headers.Contains("Retry-After"));
        gate.Set();
        Assert.Equal(20, (await running).GetProperty("usage").GetProperty("completion_tokens").GetInt32());
        Assert.Equal(0, await server.Exit.WaitAsync(TimeSpan.FromSeconds(20)));
    }

    [Fact]
    public async Task Requests_that_outlive_the_drain_are_told_and_a_stream_ends_without_done()
    {
        await using var server = await TestServer.StartAsync(
            options => options with { ShutdownTimeout = TimeSpan.FromMilliseconds(300) }, () => new FakeBackend { OnSubmit = _ => Thread.Sleep(5) });
        var whole = server.PostAsync("/v1/completions", Long.Replace("STREAM", "false"));
        var stream = RawAsync(server, Long.Replace("STREAM", "true"));
        while (server.Stats.GeneratedTokens < 10)
        {
            await Task.Delay(2);
        }

        server.Stop();
        using var response = await whole;
        Assert.Equal(503, (int)response.StatusCode);
        var (text, complete) = await stream;
        Assert.Contains("\"code\":\"draining\"", text);
        Assert.DoesNotContain("[DONE]", text);
        Assert.False(complete, "the chunked body must not end properly");
        Assert.Equal(0, await server.Exit.WaitAsync(TimeSpan.FromSeconds(20)));
    }

    [Fact]
    public async Task After_a_fault_requests_are_told_health_is_red_and_the_exit_code_is_not_0()
    {
        await using var server = await TestServer.StartAsync(null, () => new FakeBackend { FaultAtStep = 30, OnSubmit = _ => Thread.Sleep(2) });
        var whole = server.PostAsync("/v1/completions", Long.Replace("STREAM", "false"));
        var stream = RawAsync(server, Long.Replace("STREAM", "true"));
        using var response = await whole;
        Assert.Equal(500, (int)response.StatusCode);
        Assert.Equal("false", response.Headers.GetValues("x-should-retry").Single());
        var (text, complete) = await stream;
        Assert.Contains("injected fault", text);
        Assert.Contains("data: {\"error\":{\"message\":", text);
        Assert.DoesNotContain("[DONE]", text);
        Assert.False(complete);
        Assert.Equal("failed", server.Host.Health().Status);
        Assert.Equal(ServerRun.FailedExitCode, await server.Exit.WaitAsync(TimeSpan.FromSeconds(20)));
    }

    [Fact]
    public async Task Health_turns_red_when_no_step_ends_although_there_is_work()
    {
        using var gate = new ManualResetEventSlim();
        await using var server = await TestServer.StartAsync(
            options => options with { WatchdogTimeout = TimeSpan.FromSeconds(1) },
            () => new FakeBackend { OnSubmit = plan => _ = plan.Decodes.Count > 0 && gate.Wait(TimeSpan.FromSeconds(30)) });
        var running = server.PostAsync("/v1/completions", """{"prompt":[1,2,3],"max_tokens":5,"ignore_eos":true}""");
        var until = DateTime.UtcNow.AddSeconds(20);
        while (server.Host.Health().Status != "stalled")
        {
            Assert.True(DateTime.UtcNow < until, "never red");
            await Task.Delay(50);
        }

        gate.Set();
        Assert.Equal(200, (int)(await running).StatusCode);
        Assert.Equal("ok", server.Host.Health().Status);
    }

    [Fact]
    public async Task A_step_that_never_ends_tells_requests_and_ends_the_process()
    {
        using var gate = new ManualResetEventSlim();
        await using var server = await TestServer.StartAsync(
            null,
            () => new FakeBackend { OnSubmit = plan => _ = plan.Decodes.Count > 0 && gate.Wait(Timeout.Infinite) },
            new EngineOptions { StepTimeout = TimeSpan.FromSeconds(0.5) });
        using var response = await server.PostAsync("/v1/completions", """{"prompt":[1,2,3],"max_tokens":5,"ignore_eos":true}""");
        Assert.Equal(500, (int)response.StatusCode);
        Assert.Contains("did not end within 0.5 s", await response.Content.ReadAsStringAsync());
        Assert.Equal("failed", server.Host.Health().Status);
        Assert.Equal(ServerRun.FailedExitCode, await server.Exit.WaitAsync(TimeSpan.FromSeconds(20)));
        gate.Set();
        await Task.Delay(100);
    }

    [Fact]
    public async Task A_silent_stream_is_pinged()
    {
        using var gate = new ManualResetEventSlim();
        await using var server = await TestServer.StartAsync(
            options => options with { PingInterval = TimeSpan.FromMilliseconds(100) }, () => new FakeBackend { OnSubmit = _ => gate.Wait() });
        var stream = RawAsync(server, """{"prompt":[1,2,3],"max_tokens":2,"ignore_eos":true,"stream":true}""");
        await Task.Delay(2000);
        gate.Set();
        var (text, complete) = await stream;
        Assert.True(complete);
        Assert.Contains(": ping\n\n: ping\n\n", text);
        Assert.Contains("X-Accel-Buffering: no", text);
        Assert.Contains("Cache-Control: no-cache", text);
        Assert.Contains("data: [DONE]\n\n", text);
    }

    private static async Task<HttpResponseMessage> WaitForDrainingAsync(TestServer server)
    {
        while (true)
        {
            var response = await server.Client.GetAsync("/health");
            if ((int)response.StatusCode == 503)
            {
                return response;
            }

            response.Dispose();
            await Task.Delay(5);
        }
    }

    /// <summary>The bytes of a response to a completions request, and whether its chunked body ended properly.</summary>
    private static async Task<(string Text, bool Complete)> RawAsync(TestServer server, string body)
    {
        using var socket = new TcpClient();
        await socket.ConnectAsync(server.Address.Host, server.Address.Port);
        var network = socket.GetStream();
        await network.WriteAsync(Encoding.ASCII.GetBytes(
            $"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {body.Length}\r\n\r\n{body}"));
        var text = new StringBuilder();
        var buffer = new byte[65536];
        try
        {
            while (!text.ToString().EndsWith("\r\n0\r\n\r\n", StringComparison.Ordinal))
            {
                var count = await network.ReadAsync(buffer).AsTask().WaitAsync(TimeSpan.FromSeconds(30));
                if (count == 0)
                {
                    break;
                }

                text.Append(Encoding.UTF8.GetString(buffer, 0, count));
            }
        }
        catch (IOException)
        {
            // the abort may arrive as a reset
        }

        // chunk sizes stand between the events; without them the text is the body
        var raw = text.ToString();
        return (System.Text.RegularExpressions.Regex.Replace(raw, "\r\n[0-9a-fA-F]+\r\n", ""), raw.EndsWith("\r\n0\r\n\r\n", StringComparison.Ordinal));
    }
}
