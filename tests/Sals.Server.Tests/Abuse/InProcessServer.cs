using System.Text;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Http;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Routing;
using Sals.Engine;
using Sals.Engine.Models;
using Sals.Engine.Text;
using Sals.Server.Hosting;
using Sals.Server.Options;
using Sals.Server.Tests.Flow;
using Sals.Testing;

namespace Sals.Server.Tests.Abuse;

/// <summary>
/// The whole server without sockets: middleware, routes, engine and a fake backend, with the embedded model's tokenizer and template. Fast enough for a
/// million requests, and on one request at a time it is known what each of them allocates.
/// </summary>
internal sealed class InProcessServer : IServer, IAsyncDisposable
{
    private readonly CollectingLoggers _logs = new() { Least = Microsoft.Extensions.Logging.LogLevel.Warning };
    private Func<IFeatureCollection, Task> _process = _ => throw new InvalidOperationException("not started");
    private Microsoft.AspNetCore.Builder.WebApplication _app = null!;

    private InProcessServer(EngineHost host) => Host = host;

    public EngineHost Host { get; }

    public EngineStats Stats => Host.Current!.Engine.Stats;

    /// <summary>Warnings and worse.</summary>
    public string[] Warnings => _logs.Lines;

    public IFeatureCollection Features { get; } = new FeatureCollection();

    /// <summary>Every route the server has.</summary>
    public IEnumerable<RouteEndpoint> Routes => ((IEndpointRouteBuilder)_app).DataSources.SelectMany(source => source.Endpoints).OfType<RouteEndpoint>();

    /// <param name="checkIntegrity">The engine checks its pages after every step.</param>
    public static async Task<InProcessServer> StartAsync(bool checkIntegrity, params string[] apiKeys)
    {
        var options = SalsOptions.Default with { ApiKeys = apiKeys };
        var folder = ModelLocator.ForThisProcess.Locate(null);
        var host = new EngineHost(
            _ => TestServer.Fake(() => new FakeBackend(slots: 8, maxModelLength: 512, vocabulary: 8192)) with
            {
                Tokenizer = TokenizerLoader.Open(folder),
                Template = ChatRendering.With(ChatTemplate.Load(folder)!),
                EndTokenIds = [2],
                VocabularySize = 8192,
                EngineOptions = new EngineOptions { CheckIntegrity = checkIntegrity },
            },
            options, TimeProvider.System, Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance);
        var server = new InProcessServer(host);
        server._app = ServerApp.Build(options, host, server._logs, server);
        await server._app.StartAsync();
        host.Start();
        await host.Loading;
        return server;
    }

    public Task StartAsync<TContext>(IHttpApplication<TContext> application, CancellationToken cancellationToken)
        where TContext : notnull
    {
        _process = async features =>
        {
            var context = application.CreateContext(features);
            try
            {
                await application.ProcessRequestAsync(context);
                application.DisposeContext(context, null);
            }
            catch (Exception exception)
            {
                application.DisposeContext(context, exception);
                throw;
            }
        };
        return Task.CompletedTask;
    }

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <returns>Status and body; an exception that no middleware caught comes out here.</returns>
    public async Task<(int Status, byte[] Body)> SendAsync(FuzzRequest request, CancellationToken cancel)
    {
        using var aborted = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        var response = new Response();
        using var body = new Body(response);
        var features = new FeatureCollection();
        var path = request.Path.Split('?')[0];
        var sent = new HttpRequestFeature
        {
            Method = request.Method,
            Path = path,
            RawTarget = request.Path,
            Scheme = "http",
            Protocol = "HTTP/1.1",
            Body = new MemoryStream(request.Body),
            QueryString = request.Path[path.Length..],
        };
        sent.Headers.Host = "localhost";
        sent.Headers.ContentType = request.ContentType;
        sent.Headers.ContentLength = request.Body.Length;
        if (request.Authorization is { } authorization)
        {
            sent.Headers.Authorization = authorization;
        }

        features.Set<IHttpRequestFeature>(sent);
        features.Set<IHttpResponseFeature>(response);
        features.Set<IHttpResponseBodyFeature>(new StreamResponseBodyFeature(body));
        features.Set<IHttpRequestLifetimeFeature>(new Lifetime(aborted));
        await _process(features);
        await features.Get<IHttpResponseBodyFeature>()!.CompleteAsync();
        return (response.StatusCode, body.ToArray());
    }

    public void Dispose()
    {
    }

    public async ValueTask DisposeAsync()
    {
        await Host.DisposeAsync();
        await _app.DisposeAsync();
    }

    private sealed class Response : HttpResponseFeature
    {
        public bool Started { get; set; }

        public override bool HasStarted => Started;
    }

    /// <summary>A response has started with its first byte.</summary>
    private sealed class Body(Response response) : MemoryStream
    {
        public override void Write(byte[] buffer, int offset, int count)
        {
            response.Started = true;
            base.Write(buffer, offset, count);
        }

        public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            response.Started = true;
            return base.WriteAsync(buffer, cancellationToken);
        }
    }

    private sealed class Lifetime(CancellationTokenSource aborted) : IHttpRequestLifetimeFeature
    {
        public CancellationToken RequestAborted { get; set; } = aborted.Token;

        public void Abort() => aborted.Cancel();
    }
}

/// <param name="Path">With the query.</param>
internal sealed record FuzzRequest(string Method, string Path, string ContentType, byte[] Body, string? Authorization = null)
{
    public override string ToString() => $"{Method} {Path} ({ContentType}) {Encoding.UTF8.GetString(Body)}";
}
