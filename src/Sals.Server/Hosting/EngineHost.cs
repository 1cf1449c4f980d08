using Sals.Engine;
using Sals.Server.Api;
using Sals.Server.Options;
using Sals.Server.Telemetry;

namespace Sals.Server.Hosting;

/// <summary>The engine's life in the server: load, ready, drain, and the two ways it can fail. Routes ask it for <see cref="Serving"/>.</summary>
public sealed partial class EngineHost : IAsyncDisposable
{
    private readonly Func<SalsOptions, LoadedModel> _load;
    private readonly SalsOptions _options;
    private readonly TimeProvider _time;
    private readonly ILogger _logger;
    private readonly TaskCompletionSource _failed = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly CancellationTokenSource _ended = new();
    private volatile Serving? _serving;
    private volatile bool _draining;
    private volatile string? _failure;
    private int _disposed;
    private LoadedModel? _model;
    private InferenceEngine? _engine;
    private Task _loading = Task.CompletedTask;

    /// <param name="load">Reads the model; runs on a pool thread.</param>
    public EngineHost(Func<SalsOptions, LoadedModel> load, SalsOptions options, TimeProvider time, ILogger logger)
    {
        _load = load;
        _options = options;
        _time = time;
        _logger = logger;
    }

    /// <summary>Nothing is prepared for later requests.</summary>
    public bool IsRehearsal { get; init; }

    /// <summary>Completes when loading failed or the engine died: the process should end with an error.</summary>
    public Task Failed => _failed.Task;

    /// <summary>Completes when loading has ended, well or not.</summary>
    public Task Loading => _loading;

    /// <summary>What a request needs.</summary>
    /// <exception cref="ApiException">503: loading, draining or failed.</exception>
    public Serving Require()
    {
        if (_failure is not null)
        {
            throw new ApiException(ApiError.Unavailable("engine_failed", "The engine has failed; the server is about to stop."));
        }

        if (_draining)
        {
            throw new ApiException(ApiError.Unavailable("draining", "The server is shutting down.", 5));
        }

        return _serving ?? throw new ApiException(ApiError.Unavailable("loading", "The model is loading.", 2));
    }

    /// <summary>For routes that answer while draining too; null while loading.</summary>
    public Serving? Current => _serving;

    /// <summary>State for GET /health: ok is 200, everything else 503.</summary>
    public (string Status, string? Detail) Health()
    {
        if (_failure is { } failure)
        {
            return ("failed", failure);
        }

        if (_draining)
        {
            return ("draining", null);
        }

        return _serving is not { } serving ? ("loading", null)
            : serving.Watchdog.Check() ? ("stalled", $"no step ended for {_options.WatchdogTimeout.TotalSeconds:0} s although there is work")
            : ("ok", null);
    }

    public void Start() => _loading = Task.Run(LoadAsync);

    /// <summary>From now on requests are refused; completes when the running ones have ended or the time is over.</summary>
    public async Task DrainAsync(TimeSpan timeout)
    {
        _draining = true;
        if (_serving is { } serving)
        {
            await serving.Engine.DrainAsync(timeout);
        }
    }

    /// <summary>Ends everything at once; may be called again.</summary>
    public async ValueTask DisposeAsync()
    {
        _draining = true;
        if (Interlocked.Exchange(ref _disposed, 1) != 0)
        {
            return;
        }

        await _ended.CancelAsync();
        await _loading;
        if (_engine is not null)
        {
            await _engine.DisposeAsync();
        }

        if (_engine is not { IsAbandoned: true })
        {
            _model?.Dispose();
        }

        _ended.Dispose();
    }

    private async Task LoadAsync()
    {
        var started = _time.GetTimestamp();
        try
        {
            var model = _model = _load(_options);
            foreach (var warning in model.Warnings)
            {
                Log.Warning(_logger, warning);
            }

            var engine = _engine = new InferenceEngine(model.CreateBackend, model.EngineOptions, _time);
            var info = await engine.Loaded;
            foreach (var fact in model.Facts.Concat(MemoryBudget.Describe(info)))
            {
                Log.Fact(_logger, fact);
            }

            _serving = new Serving(_options, model, engine, info, _time);
            Log.Ready(_logger, model.Names[0], info.Name, _time.GetElapsedTime(started).TotalSeconds);
            _ = WatchAsync(engine);
            _ = TickAsync(_serving);
            _ = IsRehearsal ? Task.CompletedTask : Task.Run(_serving.Reader.Grammars.Prepare);
        }
        catch (Exception exception)
        {
            Log.LoadFailed(_logger, exception.Message);
            Log.LoadFailedDetail(_logger, exception);
            Fail(exception.Message);
        }
    }

    private async Task WatchAsync(InferenceEngine engine)
    {
        await engine.Completion;
        if (engine.Fault is { } fault)
        {
            Log.Faulted(_logger, fault.Cause, fault.Message);
            Fail(fault.Message);
        }
    }

    /// <summary>The watchdog must look between health checks too, which may be rare.</summary>
    private async Task TickAsync(Serving serving)
    {
        using var timer = new PeriodicTimer(_options.WatchdogTimeout / 8, _time);
        try
        {
            while (await timer.WaitForNextTickAsync(_ended.Token))
            {
                serving.Watchdog.Check();
            }
        }
        catch (OperationCanceledException)
        {
            // the server ends
        }
    }

    private void Fail(string message)
    {
        _failure = message;
        _failed.TrySetResult();
    }

    private static partial class Log
    {
        [LoggerMessage(EventIds.ModelLoaded, LogLevel.Information, "Ready: {Model} on {Backend} after {Seconds:0.00} s")]
        public static partial void Ready(ILogger logger, string model, string backend, double seconds);

        [LoggerMessage(EventIds.MemoryBudget, LogLevel.Information, "{Fact:l}")]
        public static partial void Fact(ILogger logger, string fact);

        [LoggerMessage(EventIds.SlidingWindow, LogLevel.Warning, "{Warning:l}")]
        public static partial void Warning(ILogger logger, string warning);

        [LoggerMessage(EventIds.ModelFailed, LogLevel.Error, "The model cannot be served: {Problem:l}")]
        public static partial void LoadFailed(ILogger logger, string problem);

        [LoggerMessage(EventIds.ModelFailed + 100, LogLevel.Debug, "Where loading failed")]
        public static partial void LoadFailedDetail(ILogger logger, Exception exception);

        [LoggerMessage(EventIds.EngineFaulted, LogLevel.Critical, "The engine has failed and does not recover: {Problem:l}")]
        public static partial void Faulted(ILogger logger, Exception cause, string problem);
    }
}
