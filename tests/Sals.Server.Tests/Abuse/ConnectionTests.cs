using System.Diagnostics;
using System.Net.Sockets;
using System.Text;
using Sals.Server.Tests.Flow;
using Sals.Testing;
using Xunit;

namespace Sals.Server.Tests.Abuse;

/// <summary>Clients that speak HTTP badly, slowly, or only halfway.</summary>
public class ConnectionTests
{
    private const string Start = "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    private const string Long = """{"prompt":[1,2,3],"max_tokens":900,"ignore_eos":true,"stream":true}""";

    public static TheoryData<string, string, int[]> Malformed => new()
    {
        { "a giant header", $"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Big: {new string('a', 64 << 10)}\r\n\r\n", [431] },
        { "many headers", $"GET /v1/models HTTP/1.1\r\nHost: x\r\n{string.Concat(Enumerable.Range(0, 500).Select(i => $"X-{i}: 1\r\n"))}\r\n", [431] },
        { "a giant target", $"GET /{new string('a', 16 << 10)} HTTP/1.1\r\nHost: x\r\n\r\n", [414] },
        { "no HTTP", "\u0016\u0003\u0001\u0002 nonsense\r\n\r\n", [400] },
        { "HTTP of the future", "GET / HTTP/9.9\r\nHost: x\r\n\r\n", [505] },
        { "no host", "GET /v1/models HTTP/1.1\r\n\r\n", [400] },
        { "two hosts", "GET /v1/models HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", [400] },
        { "two lengths", $"{Start}Content-Length: 5\r\nContent-Length: 6\r\n\r\n12345", [400] },
        { "a negative length", $"{Start}Content-Length: -1\r\n\r\n", [400] },
        { "a length and chunks", $"{Start}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", [400] },
        { "an unknown transfer encoding", $"{Start}Transfer-Encoding: gzip\r\n\r\n", [400, 501] },
        { "a broken chunk", $"{Start}Transfer-Encoding: chunked\r\n\r\nzz\r\n", [400] },
        { "a NUL in a header", "GET /v1/models HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n", [400] },
        { "a header without a name", "GET /v1/models HTTP/1.1\r\nHost: x\r\n: a\r\n\r\n", [400] },
        { "a length beyond the limit", $"{Start}Content-Length: 99999999999\r\n\r\n", [413] },
        { "packed JSON", $"{Start}Content-Encoding: gzip\r\nContent-Length: 10\r\n\r\n\u001f\u008b\u0008\0\0\0\0\0\0\0", [400] },
        { "nested JSON", $"{Start}Content-Length: 100000\r\n\r\n{new string('[', 100000)}", [400] },
    };

    [Theory]
    [MemberData(nameof(Malformed))]
    public async Task Malformed_requests_are_4xx_and_the_server_lives(string what, string bytes, int[] expected)
    {
        await using var server = await TestServer.StartAsync();
        var text = await RawAsync(server, Encoding.Latin1.GetBytes(bytes));
        Assert.True(text.StartsWith("HTTP/1.1 ", StringComparison.Ordinal) && expected.Contains(int.Parse(text.AsSpan(9, 3))), $"{what}: {text}");
        Assert.Equal("{\"status\":\"ok\"}", await server.Client.GetStringAsync("/health"));
        Assert.DoesNotContain(server.Logs.Lines, line => line.Contains("Unexpected failure"));
        await server.QuietAsync();
    }

    [Fact]
    public async Task Chunks_beyond_the_limit_are_413()
    {
        await using var server = await TestServer.StartAsync(options => options with { MaxRequestBytes = 10_000 });
        var text = await RawAsync(server, Encoding.ASCII.GetBytes($"{Start}Transfer-Encoding: chunked\r\n\r\n4E20\r\n\"{new string('a', 19_998)}\"\r\n0\r\n\r\n"));
        Assert.StartsWith("HTTP/1.1 413 ", text);
    }

    [Fact]
    public async Task Half_open_and_dripping_connections_are_closed_and_block_nobody()
    {
        await using var server = await TestServer.StartAsync();
        var sockets = new List<TcpClient>();
        try
        {
            // silent ones, ones that stop in the headers, and ones that stop in the body
            string[] parts = ["", "POST /v1/comp", Start, $"{Start}Content-Length: 1000\r\n\r\n{{\"prompt\":"];
            for (var i = 0; i < 200; i++)
            {
                var socket = new TcpClient();
                await socket.ConnectAsync(server.Address.Host, server.Address.Port);
                await socket.GetStream().WriteAsync(Encoding.ASCII.GetBytes(parts[i % parts.Length]));
                sockets.Add(socket);
            }

            var started = Stopwatch.GetTimestamp();
            var body = await server.PostJsonAsync("/v1/completions", """{"prompt":[1],"max_tokens":4,"ignore_eos":true}""");
            Assert.Equal(4, body.GetProperty("usage").GetProperty("completion_tokens").GetInt32());
            Assert.True(Stopwatch.GetElapsedTime(started) < TimeSpan.FromSeconds(5));

            // headers have 15 s, bodies 10 s and then 240 bytes a second; the silent ones are idle connections
            await Task.WhenAll(sockets.Where((_, i) => i % parts.Length != 0).Select(async socket =>
            {
                var buffer = new byte[4096];
                try
                {
                    while (await socket.GetStream().ReadAsync(buffer).AsTask().WaitAsync(TimeSpan.FromSeconds(40)) > 0)
                    {
                    }
                }
                catch (IOException)
                {
                    // reset
                }
            }));
            await server.QuietAsync();
        }
        finally
        {
            sockets.ForEach(socket => socket.Dispose());
        }
    }

    [Fact]
    public async Task A_client_that_does_not_read_holds_up_nobody_and_leaves_nothing()
    {
        await using var server = await TestServer.StartAsync();
        using var socket = new TcpClient { ReceiveBufferSize = 1024 };
        await socket.ConnectAsync(server.Address.Host, server.Address.Port);
        // eight choices with log-probabilities: more than the socket's buffers hold
        var body = """{"prompt":[1,2,3],"max_tokens":900,"ignore_eos":true,"stream":true,"n":4,"logprobs":20}""";
        await socket.GetStream().WriteAsync(Encoding.ASCII.GetBytes($"{Start}Content-Length: {body.Length}\r\n\r\n{body}"));
        await server.UntilRunningAsync();
        for (var i = 0; i < 20; i++)
        {
            var other = await server.PostJsonAsync("/v1/completions", """{"prompt":[9],"max_tokens":10,"ignore_eos":true}""");
            Assert.Equal(10, other.GetProperty("usage").GetProperty("completion_tokens").GetInt32());
        }

        // the engine does not wait for it: its tokens are done while the answer is still being written
        var until = DateTime.UtcNow.AddSeconds(30);
        while (server.Stats.Running > 0)
        {
            Assert.True(DateTime.UtcNow < until, "the engine waits for a reader");
            await Task.Delay(10);
        }

        Assert.Equal(0, server.Stats.CacheBytesUsed);

        // nor does it keep its place for ever: what it leaves unread for half a minute ends its answer
        Assert.Equal(1, Math.Sign(server.Host.Current!.Gate.Live));
        until = DateTime.UtcNow.AddSeconds(60);
        while (server.Host.Current!.Gate.Live > 0)
        {
            Assert.True(DateTime.UtcNow < until, "a client that does not read keeps its place");
            await Task.Delay(50);
        }

        await server.QuietAsync();
    }

    public static TheoryData<string, string> Phases => new()
    {
        { "in the headers", "POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Le" },
        { "before the body", $"{Start}Content-Length: {Long.Length}\r\n\r\n" },
        { "in the body", $"{Start}Content-Length: {Long.Length}\r\n\r\n{Long[..20]}" },
        { "in a chunk", $"{Start}Transfer-Encoding: chunked\r\n\r\n40\r\n{Long[..20]}" },
        { "after the request", $"{Start}Content-Length: {Long.Length}\r\n\r\n{Long}" },
    };

    [Theory]
    [MemberData(nameof(Phases))]
    public async Task A_disconnect_in_any_phase_leaves_nothing(string phase, string bytes)
    {
        await using var server = await TestServer.StartAsync(null, () => new FakeBackend(slots: 2) { OnSubmit = _ => Thread.Sleep(1) });
        foreach (var (wait, reset) in new[] { (0, false), (0, true), (3, false), (30, true), (120, false) })
        {
            for (var i = 0; i < 4; i++)
            {
                using var socket = new TcpClient();
                await socket.ConnectAsync(server.Address.Host, server.Address.Port);
                await socket.GetStream().WriteAsync(Encoding.ASCII.GetBytes(bytes));
                await Task.Delay(wait);
                // a reset instead of an orderly end
                socket.LingerState = new LingerOption(reset, 0);
            }
        }

        await server.QuietAsync();
        Assert.Equal("{\"status\":\"ok\"}", await server.Client.GetStringAsync("/health"));
        Assert.DoesNotContain(server.Logs.Lines, line => line.Contains("Unexpected failure"));
        Assert.True(server.Stats.Steps < 4000, $"{phase}: {server.Stats.Steps} steps for clients that had gone");
    }

    [Fact]
    public async Task A_disconnect_while_waiting_in_the_queue_never_starts()
    {
        // slow until the clients are gone: the engine keeps taking commands while the only slot is held for seconds
        using var hurry = new ManualResetEventSlim();
        await using var server = await TestServer.StartAsync(null, () => new FakeBackend(slots: 1) { OnSubmit = _ => hurry.Wait(5) });
        var running = server.PostAsync("/v1/completions", """{"prompt":[1,2,3],"max_tokens":800,"ignore_eos":true}""");
        while (server.Stats.Running < 1)
        {
            await Task.Delay(5);
        }

        using var cancel = new CancellationTokenSource();
        var waiting = Enumerable.Range(0, 5).Select(_ => server.PostAsync("/v1/completions", """{"prompt":[7,8,9],"max_tokens":500,"ignore_eos":true}""", cancel.Token)).ToArray();
        while (server.Host.Current!.Gate.Live < 6)
        {
            await Task.Delay(5);
        }

        await cancel.CancelAsync();
        await Task.WhenAll(waiting.Select(one => Assert.ThrowsAnyAsync<OperationCanceledException>(() => one)));
        while (server.Host.Current!.Gate.Live > 1 || server.Stats.Waiting > 0)
        {
            await Task.Delay(5);
        }

        hurry.Set();
        Assert.Equal(200, (int)(await running).StatusCode);
        await server.QuietAsync();
        Assert.Equal(800, server.Stats.GeneratedTokens);
    }

    /// <summary>All that comes back until the connection is closed, or nothing more comes for two seconds.</summary>
    private static async Task<string> RawAsync(TestServer server, byte[] bytes)
    {
        using var socket = new TcpClient();
        await socket.ConnectAsync(server.Address.Host, server.Address.Port);
        var stream = socket.GetStream();
        var text = new StringBuilder();
        var buffer = new byte[8192];
        try
        {
            await stream.WriteAsync(bytes);
            for (int count; (count = await stream.ReadAsync(buffer).AsTask().WaitAsync(TimeSpan.FromSeconds(text.Length == 0 ? 20 : 2))) > 0;)
            {
                text.Append(Encoding.UTF8.GetString(buffer, 0, count));
            }
        }
        catch (Exception exception) when (exception is IOException or TimeoutException)
        {
            // a refused request may be reset while it is still being sent
        }

        return text.ToString();
    }
}
