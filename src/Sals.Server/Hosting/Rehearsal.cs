using System.Text;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Http.Features;
using Microsoft.Extensions.Logging.Abstractions;
using Sals.Engine;
using Sals.Server.Options;
using Sals.Server.Telemetry;

namespace Sals.Server.Hosting;

/// <summary>
/// Compiles the way of a request while the weights load, since .NET compiles a method when it is first called and the first client would wait for some
/// thousand of them: a few requests to a server of its own, with the real settings, tokenizer and chat template, in front of a <see cref="RehearsalBackend"/>
/// and without a socket. Its engine, metrics, prefix cache and log are its own and end with it.
/// </summary>
public static partial class Rehearsal
{
    // twice each: a second call goes ways that the first one prepared
    private static readonly (string Path, string Body)[] Requests =
    [
        ("/v1/chat/completions", """{"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":"Where do rivers begin?"}],"max_tokens":4,"stream":true,"stream_options":{"include_usage":true}}"""),
        ("/v1/completions", """{"prompt":[1,2,3,4,5,6,7,8],"max_tokens":4,"temperature":0,"ignore_eos":true,"stream":true}"""),
        ("/v1/chat/completions", """{"messages":[{"role":"user","content":"Where do rivers end?"}],"max_tokens":4,"temperature":0.7}"""),
    ];

    /// <summary>Opens as given and rehearses on another thread, which nobody waits for, while the weights load.</summary>
    public static Func<SalsOptions, LoadedModel> During(Func<SalsOptions, LoadedModel> open, ILogger logger) => options =>
    {
        var model = open(options);

        // spans and meters are the process's: with an OTLP endpoint requests that nobody sent would be exported
        if (options.OtlpTracesEndpoint is null && options.OtlpMetricsEndpoint is null)
        {
            _ = Task.Run(async () =>
            {
                try
                {
                    await RunAsync(options, model);
                }
                catch (Exception exception)
                {
                    // only the first requests are slower for it
                    Log.Failed(logger, exception);
                }
            });
        }

        return model;
    };

    /// <returns>Status and body of every answer. A model may refuse some, which is as good a rehearsal of its refusals.</returns>
    public static async Task<IReadOnlyList<(int Status, string Body)>> RunAsync(SalsOptions options, LoadedModel model, CancellationToken cancel = default)
    {
        var alone = options with { ApiKeys = [] };
        var rehearsed = model with
        {
            CreateBackend = () => new RehearsalBackend(model.VocabularySize),
            EngineOptions = new EngineOptions { MaxWaiting = model.EngineOptions.MaxWaiting },
            Resources = null,
        };
        await using var host = new EngineHost(_ => rehearsed, alone, TimeProvider.System, NullLogger.Instance) { IsRehearsal = true };
        using var stage = new Stage();
        await using var app = ServerApp.Build(alone, host, NullLoggerFactory.Instance, stage);
        await app.StartAsync(cancel);
        host.Start();
        await host.Loading;
        var answers = new List<(int, string)>();
        foreach (var (path, body) in Requests.Concat(Requests))
        {
            cancel.ThrowIfCancellationRequested();
            answers.Add(await stage.SendAsync(path, body));
        }

        return answers;
    }

    /// <summary>In Kestrel's place: hands requests to the application and keeps what it answers.</summary>
    private sealed class Stage : IServer
    {
        private Func<IFeatureCollection, Task> _process = _ => throw new InvalidOperationException("not started");

        public IFeatureCollection Features { get; } = new FeatureCollection();

        public Task StartAsync<TContext>(IHttpApplication<TContext> application, CancellationToken cancellationToken)
            where TContext : notnull
        {
            _process = async features =>
            {
                var context = application.CreateContext(features);
                await application.ProcessRequestAsync(context);
                application.DisposeContext(context, null);
            };
            return Task.CompletedTask;
        }

        public async Task<(int Status, string Body)> SendAsync(string path, string body)
        {
            var bytes = Encoding.UTF8.GetBytes(body);
            using var answer = new MemoryStream();
            var response = new HttpResponseFeature();
            var features = new FeatureCollection();
            var request = new HttpRequestFeature { Method = "POST", Path = path, RawTarget = path, Scheme = "http", Protocol = "HTTP/1.1", Body = new MemoryStream(bytes) };
            request.Headers.Host = "localhost";
            request.Headers.ContentType = "application/json";
            request.Headers.ContentLength = bytes.Length;
            features.Set<IHttpRequestFeature>(request);
            features.Set<IHttpResponseFeature>(response);
            features.Set<IHttpResponseBodyFeature>(new StreamResponseBodyFeature(answer));
            features.Set<IHttpRequestLifetimeFeature>(new HttpRequestLifetimeFeature());
            await _process(features);
            await features.Get<IHttpResponseBodyFeature>()!.CompleteAsync();
            return (response.StatusCode, Encoding.UTF8.GetString(answer.ToArray()));
        }

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public void Dispose()
        {
        }
    }

    private static partial class Log
    {
        [LoggerMessage(EventIds.NotRehearsed, LogLevel.Debug, "The requests that warm the server up failed")]
        public static partial void Failed(ILogger logger, Exception exception);
    }
}
