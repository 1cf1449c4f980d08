using System.Net;
using System.Security.Cryptography.X509Certificates;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Sals.Server.Api;
using Sals.Server.Options;

namespace Sals.Server.Hosting;

/// <summary>Composes the HTTP side: Kestrel's limits, the middleware in order, the routes.</summary>
public static class ServerApp
{
    /// <summary>After draining, how long answers in flight may take to reach their clients.</summary>
    private static readonly TimeSpan LastWrites = TimeSpan.FromSeconds(5);

    /// <param name="server">Instead of Kestrel; null = Kestrel.</param>
    public static WebApplication Build(SalsOptions options, EngineHost host, ILoggerFactory loggers, IServer? server = null)
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions { ApplicationName = "sals" });
        builder.Services.AddSingleton(loggers);
        builder.Services.AddLogging();
        builder.Services.AddRoutingCore();
        builder.Services.AddCors();
        builder.Services.Configure<HostOptions>(settings => settings.ShutdownTimeout = LastWrites);
        builder.Services.AddSingleton<IHostLifetime, SilentLifetime>();
        builder.WebHost.UseKestrelCore();
        builder.WebHost.ConfigureKestrel(kestrel => Configure(kestrel, options));
        if (server is not null)
        {
            builder.Services.AddSingleton(server);
        }

        var app = builder.Build();
        var logger = loggers.CreateLogger("Sals.Server.Api");
        var keys = new ApiKeys(options.ApiKeys);
        app.Use((context, next) =>
        {
            RequestId.Assign(context);
            context.Response.Headers.XContentTypeOptions = "nosniff";
            return ErrorResponse.Middleware(context, _ => next(context), logger);
        });
        if (options.AllowedOrigins.Length > 0)
        {
            app.UseCors(policy => Allow(policy, options.AllowedOrigins));
        }

        app.Use((context, next) => keys.Check(context.Request) is { } error ? throw new ApiException(error) : next(context));
        app.UseRouting();
        ModelRoutes.Map(app, host);
        StateRoutes.Map(app, host);
        TokenizeRoutes.Map(app, host);
        OpenApiRoute.Map(app);
        ChatCompletions.Map(app, host, logger);
        Completions.Map(app, host, logger);
        Responses.Map(app, host, logger, TimeProvider.System);
        return app;
    }

    private static void Allow(Microsoft.AspNetCore.Cors.Infrastructure.CorsPolicyBuilder policy, string[] origins)
    {
        _ = origins.Contains("*") ? policy.AllowAnyOrigin() : policy.WithOrigins(origins);
        policy.AllowAnyHeader().WithMethods("GET", "POST", "OPTIONS").WithExposedHeaders(RequestId.Header, "Retry-After");
    }

    private static void Configure(KestrelServerOptions kestrel, SalsOptions options)
    {
        kestrel.AddServerHeader = false;
        var limits = kestrel.Limits;
        limits.MaxRequestBodySize = options.MaxRequestBytes;
        limits.MaxRequestHeadersTotalSize = 32 << 10;
        limits.MaxRequestHeaderCount = 100;
        limits.MaxRequestLineSize = 8 << 10;
        limits.RequestHeadersTimeout = TimeSpan.FromSeconds(15);
        limits.KeepAliveTimeout = TimeSpan.FromSeconds(130);
        limits.MinRequestBodyDataRate = new MinDataRate(bytesPerSecond: 240, gracePeriod: TimeSpan.FromSeconds(10));
        limits.MaxConcurrentConnections = 4096;
        // ResponseFlush bounds how long a client may leave an answer unread
        limits.MinResponseDataRate = null;

        void Secure(ListenOptions listen)
        {
            if (options.CertificateFile is { } certificate)
            {
                listen.UseHttps(X509Certificate2.CreateFromPemFile(certificate, options.CertificateKeyFile));
            }
        }

        if (options.UnixSocket is { } path)
        {
            kestrel.ListenUnixSocket(path);
        }
        else if (options.Host == "localhost" && options.Port != 0)
        {
            kestrel.ListenLocalhost(options.Port, Secure);
        }
        else
        {
            kestrel.Listen(options.Host switch { "*" => IPAddress.IPv6Any, "localhost" => IPAddress.Loopback, var host => IPAddress.Parse(host) }, options.Port, Secure);
        }
    }

    /// <summary>Signals are <see cref="ServerRun"/>'s: the host must not stop by itself before the engine has drained.</summary>
    private sealed class SilentLifetime : IHostLifetime
    {
        public Task WaitForStartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

        public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;
    }
}
