using System.Text;
using System.Text.Json;
using Microsoft.Extensions.Logging;
using Sals.Engine;
using Sals.Engine.Backends;
using Sals.Engine.Models;
using Sals.Engine.Text;
using Sals.Server.Api;
using Sals.Server.Hosting;
using Sals.Server.Options;
using Sals.Testing;

namespace Sals.Server.Tests.Flow;

/// <summary>The whole server on a loopback port, with a fake backend unless a loader is given.</summary>
public sealed class TestServer : IAsyncDisposable
{
    private readonly TaskCompletionSource _stop = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _stopNow = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly Task<int> _run;

    private TestServer(SalsOptions options, Func<SalsOptions, LoadedModel> load, TaskCompletionSource<(string Address, EngineHost Host)> listening)
    {
        _run = ServerRun.RunAsync(
            options, load, Logs, TimeProvider.System, _stop.Task, _stopNow.Task,
            (addresses, host) => listening.SetResult((addresses[0], host)));
        Listening = listening.Task;
    }

    public HttpClient Client { get; private set; } = new();

    public Uri Address => Client.BaseAddress!;

    public EngineHost Host { get; private set; } = null!;

    public EngineStats Stats => Host.Current!.Engine.Stats;

    /// <summary>The exit code, once the server has ended.</summary>
    public Task<int> Exit => _run;

    public CollectingLoggers Logs { get; } = new();

    private Task<(string Address, EngineHost Host)> Listening { get; }

    public static Task<TestServer> StartAsync(
        Func<SalsOptions, SalsOptions>? change = null, Func<IStepBackend>? backend = null, EngineOptions? engine = null) =>
        StartAsync(options => Fake(backend ?? (() => new FakeBackend(slots: 8, maxModelLength: 1024)), engine), change);

    public static async Task<TestServer> StartAsync(
        Func<SalsOptions, LoadedModel> load, Func<SalsOptions, SalsOptions>? change = null, bool waitUntilLoaded = true)
    {
        var options = SalsOptions.Default with { Port = 0, ShutdownTimeout = TimeSpan.FromSeconds(5) };
        var listening = new TaskCompletionSource<(string, EngineHost)>(TaskCreationOptions.RunContinuationsAsynchronously);
        var server = new TestServer(change?.Invoke(options) ?? options, load, listening);
        var (address, host) = await server.Listening.WaitAsync(TimeSpan.FromSeconds(30));
        server.Client = new HttpClient(Handler(options = change?.Invoke(options) ?? options))
        {
            BaseAddress = new Uri(options.UnixSocket is null ? address : "http://localhost"),
            Timeout = TimeSpan.FromMinutes(2),
        };
        server.Host = host;
        if (waitUntilLoaded)
        {
            await host.Loading.WaitAsync(TimeSpan.FromMinutes(2));
        }

        return server;
    }

    public static LoadedModel Fake(Func<IStepBackend> backend, EngineOptions? engine = null) => new()
    {
        Root = "fake",
        Names = ["fake", "org/alias"],
        Tokenizer = new NumberTokenizer(),
        Template = Render,
        Formats = new AnswerFormats { CallsKnown = true },
        EndTokenIds = [NumberTokenizer.EndToken],
        VocabularySize = 1000,
        Defaults = new GenerationDefaults { Temperature = 0 },
        EngineOptions = engine ?? new EngineOptions { CheckIntegrity = true },
        CreateBackend = backend,
    };

    public Task<HttpResponseMessage> PostAsync(string path, string json, CancellationToken cancel = default) =>
        Client.PostAsync(path, new StringContent(json, Encoding.UTF8, "application/json"), cancel);

    public async Task<JsonElement> PostJsonAsync(string path, string json, int expectedStatus = 200)
    {
        using var response = await PostAsync(path, json);
        var text = await response.Content.ReadAsStringAsync();
        Xunit.Assert.True((int)response.StatusCode == expectedStatus, $"{(int)response.StatusCode}: {text}");
        return JsonDocument.Parse(text).RootElement;
    }

    /// <summary>The data of each event of a stream, to its end.</summary>
    public async Task<List<string>> StreamAsync(string path, string json)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = new StringContent(json, Encoding.UTF8, "application/json") };
        using var response = await Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead);
        Xunit.Assert.Equal(200, (int)response.StatusCode);
        Xunit.Assert.Equal("text/event-stream", response.Content.Headers.ContentType!.MediaType);
        var text = await response.Content.ReadAsStringAsync();
        Xunit.Assert.EndsWith("\n\n", text);
        return [.. text.Split("\n\n", StringSplitOptions.RemoveEmptyEntries).Where(line => !line.StartsWith(':')).Select(line =>
        {
            Xunit.Assert.StartsWith("data: ", line);
            return line[6..];
        })];
    }

    /// <summary>As SIGTERM does.</summary>
    public void Stop() => _stop.TrySetResult();

    public void StopNow() => _stopNow.TrySetResult();

    /// <summary>Waits until the engine works on a request.</summary>
    public async Task UntilRunningAsync()
    {
        var until = DateTime.UtcNow.AddSeconds(20);
        while (Stats.Running == 0)
        {
            Xunit.Assert.True(DateTime.UtcNow < until, "nothing runs");
            await Task.Delay(5);
        }
    }

    /// <summary>Waits until no request lives and every page belongs to the prefix cache or to nobody.</summary>
    public async Task QuietAsync()
    {
        var until = DateTime.UtcNow.AddSeconds(20);
        while (Stats.Running + Stats.Waiting > 0 || Stats.CacheBytesUsed > 0 || Host.Current!.Gate.Live > 0)
        {
            Xunit.Assert.True(DateTime.UtcNow < until, $"running {Stats.Running}, waiting {Stats.Waiting}, bytes {Stats.CacheBytesUsed}, live {Host.Current!.Gate.Live}");
            await Task.Delay(5);
        }
    }

    public async ValueTask DisposeAsync()
    {
        _stop.TrySetResult();
        _stopNow.TrySetResult();
        await _run.WaitAsync(TimeSpan.FromSeconds(60));
        Client.Dispose();
    }

    /// <summary>Trusts the self-signed certificate of the tests, and finds a Unix socket.</summary>
    private static SocketsHttpHandler Handler(SalsOptions options)
    {
        var handler = new SocketsHttpHandler();
        handler.SslOptions.RemoteCertificateValidationCallback = (_, certificate, _, _) => certificate?.Subject == "CN=localhost";
        if (options.UnixSocket is { } path)
        {
            handler.ConnectCallback = async (_, cancel) =>
            {
                var socket = new System.Net.Sockets.Socket(System.Net.Sockets.AddressFamily.Unix, System.Net.Sockets.SocketType.Stream, System.Net.Sockets.ProtocolType.Unspecified);
                await socket.ConnectAsync(new System.Net.Sockets.UnixDomainSocketEndPoint(path), cancel);
                return new System.Net.Sockets.NetworkStream(socket, ownsSocket: true);
            };
        }

        return handler;
    }

    private static RenderedPrompt Render(ChatPrompt prompt)
    {
        var text = string.Concat(prompt.Turns.Select(turn => $"<{turn.Role}>{turn.Content}"));
        return new RenderedPrompt(prompt.AddGenerationPrompt ? text + "<assistant>" : text, []);
    }
}

/// <summary>Keeps messages for assertions.</summary>
public sealed class CollectingLoggers : ILoggerFactory, ILogger
{
    private readonly List<string> _lines = [];

    /// <summary>What is less important is not kept.</summary>
    public LogLevel Least { get; init; }

    public string[] Lines
    {
        get
        {
            lock (_lines)
            {
                return [.. _lines];
            }
        }
    }

    public ILogger CreateLogger(string categoryName) => this;

    public void AddProvider(ILoggerProvider provider)
    {
    }

    public bool IsEnabled(LogLevel logLevel) => logLevel >= Least;

    public IDisposable? BeginScope<TState>(TState state)
        where TState : notnull => null;

    public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
    {
        if (!IsEnabled(logLevel))
        {
            return;
        }

        lock (_lines)
        {
            _lines.Add($"{eventId.Id} {formatter(state, exception)} {exception}");
        }
    }

    public void Dispose()
    {
    }
}
