using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Sals.Server.Options;
using Sals.Server.Telemetry;

namespace Sals.Server.Hosting;

/// <summary>One run of the server from start to exit code: listen, load, serve, drain, stop.</summary>
public static partial class ServerRun
{
    /// <summary>Loading failed or the engine died.</summary>
    public const int FailedExitCode = 1;

    /// <param name="stop">The first wish to stop (SIGTERM, Ctrl+C): drain.</param>
    /// <param name="stopNow">The second: end at once.</param>
    /// <param name="listening">Told the addresses once they are bound, and the host of the engine that now loads.</param>
    /// <returns>0 after a wished stop, else <see cref="FailedExitCode"/>.</returns>
    public static async Task<int> RunAsync(
        SalsOptions options, Func<SalsOptions, LoadedModel> load, ILoggerFactory loggers, TimeProvider time,
        Task stop, Task stopNow, Action<IReadOnlyList<string>, EngineHost>? listening = null)
    {
        var logger = loggers.CreateLogger("Sals.Server");
        using var export = OtlpExport.Start(options);
        await using var host = new EngineHost(load, options, time, logger);
        await using var app = ServerApp.Build(options, host, loggers);
        try
        {
            await app.StartAsync();
        }
        catch (Exception exception) when (exception is IOException or System.Net.Sockets.SocketException or InvalidOperationException)
        {
            Log.CannotListen(logger, exception.Message);
            return FailedExitCode;
        }

        var addresses = app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.ToArray();
        Log.Listening(logger, string.Join(", ", addresses));
        if (options.ApiKeys.Length == 0 && options.UnixSocket is null && options.Host is not ("localhost" or "127.0.0.1" or "::1"))
        {
            Log.OpenToEveryone(logger);
        }

        host.Start();
        listening?.Invoke(addresses, host);
        var failed = await Task.WhenAny(stop, host.Failed) == host.Failed;
        if (!failed)
        {
            Log.Draining(logger, options.ShutdownTimeout.TotalSeconds);
            var drained = host.DrainAsync(options.ShutdownTimeout);
            var first = await Task.WhenAny(drained, stopNow, host.Failed);
            failed = host.Failed.IsCompleted;
            if (first == stopNow)
            {
                Log.ForcedStop(logger);
                await host.DisposeAsync();
            }
        }

        // requests have been told how they ended; this waits until the answers are written
        await app.StopAsync();
        Log.Stopped(logger, failed ? FailedExitCode : 0);
        return failed ? FailedExitCode : 0;
    }

    private static partial class Log
    {
        [LoggerMessage(EventIds.Listening, LogLevel.Information, "Listening on {Addresses:l}")]
        public static partial void Listening(ILogger logger, string addresses);

        [LoggerMessage(EventIds.Listening + 100, LogLevel.Error, "Cannot listen: {Problem:l}")]
        public static partial void CannotListen(ILogger logger, string problem);

        [LoggerMessage(EventIds.OpenToEveryone, LogLevel.Warning, "No --api-key is set: everyone who reaches this address can use the server")]
        public static partial void OpenToEveryone(ILogger logger);

        [LoggerMessage(EventIds.Draining, LogLevel.Information, "Draining: no new requests; running ones have {Seconds:0} s")]
        public static partial void Draining(ILogger logger, double seconds);

        [LoggerMessage(EventIds.ForcedStop, LogLevel.Warning, "Second signal: running requests are ended now")]
        public static partial void ForcedStop(ILogger logger);

        [LoggerMessage(EventIds.Drained, LogLevel.Information, "Stopped with exit code {Code}")]
        public static partial void Stopped(ILogger logger, int code);
    }
}
