using System.Collections.Concurrent;
using Sals.Engine.Backends;
using Sals.Engine.Scheduling;

namespace Sals.Engine;

/// <summary>Where the engine is in its life; /health follows it.</summary>
public enum EngineState
{
    /// <summary>The backend is being built on the engine thread (weights, warm-up).</summary>
    Loading,

    Ready,

    /// <summary>No new requests; the running ones finish.</summary>
    Draining,

    Stopped,

    /// <summary>The backend died, or could not be built. Final.</summary>
    Faulted,
}

/// <summary>
/// The façade over one model on one backend. Owns the engine thread, which builds, drives and disposes the backend and owns all
/// sequences and pages; every method here may be called from any thread and none waits for a step.
/// </summary>
public sealed class InferenceEngine : IAsyncDisposable
{
    private readonly Func<IStepBackend> _createBackend;
    private readonly EngineOptions _options;
    private readonly TimeProvider _time;
    private readonly ConcurrentQueue<EngineCommand> _commands = new();
    private readonly AutoResetEvent _wake = new(false);
    private readonly TaskCompletionSource<BackendInfo> _loaded = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private readonly TaskCompletionSource _completion = new(TaskCreationOptions.RunContinuationsAsynchronously);

    // orders Start against the end of the thread: a request is either refused or told how it ended
    private readonly Lock _gate = new();
    private EngineState _state = EngineState.Loading;
    private volatile StepWatch? _watch;

    /// <summary>Starts the engine thread, which calls <paramref name="createBackend"/> first. Returns at once; see <see cref="Loaded"/>.</summary>
    public InferenceEngine(Func<IStepBackend> createBackend, EngineOptions options, TimeProvider time)
    {
        _createBackend = createBackend;
        _options = options;
        _time = time;
        // an unobserved load failure is not an error of its own: State and Fault say it
        _ = _loaded.Task.ContinueWith(task => task.Exception, TaskScheduler.Default);
        new Thread(Run) { Name = "sals engine", IsBackground = true, Priority = ThreadPriority.AboveNormal }.Start();
    }

    public EngineState State
    {
        get
        {
            lock (_gate)
            {
                return _state;
            }
        }
    }

    /// <summary>Completes with the backend's facts when ready to serve; fails with the exception of the backend's construction.</summary>
    public Task<BackendInfo> Loaded => _loaded.Task;

    /// <summary>Completes when the engine thread has ended: drained, disposed or faulted.</summary>
    public Task Completion => _completion.Task;

    /// <summary>The backend hangs and its thread was given up: what it reads must stay until the process ends.</summary>
    public bool IsAbandoned => _watch is { IsAbandoned: true };

    /// <summary>Set when <see cref="State"/> is Faulted.</summary>
    public EngineFault? Fault { get; private set; }

    public EngineStats Stats { get; } = new();

    /// <summary>Queues a request. The handle's stream always ends with one finishing event per choice, whatever happens.</summary>
    /// <exception cref="EngineNotReadyException">Loading, draining, stopped, faulted, or the waiting queue is full.</exception>
    /// <exception cref="ArgumentException">The request breaks a bound that <see cref="GenerationRequest"/> states.</exception>
    public GenerationHandle Start(GenerationRequest request)
    {
        var handle = new GenerationHandle(request, (self, choice) => Post(new EngineCommand.Abort(self, choice)));
        handle.Trace.Arrived = _time.GetTimestamp();
        if (State == EngineState.Ready)
        {
            Check(request, Loaded.Result);
        }

        var generation = new Generation(handle, _options.PrefixCaching ? _options.Fingerprint : null);
        lock (_gate)
        {
            if (_state != EngineState.Ready)
            {
                throw new EngineNotReadyException(_state, $"The engine is {_state.ToString().ToLowerInvariant()} and takes no requests.");
            }

            if (Stats.Waiting >= _options.MaxWaiting)
            {
                throw new EngineNotReadyException(_state, $"{Stats.Waiting} requests are waiting; the limit is {_options.MaxWaiting}.");
            }

            Post(new EngineCommand.Start(generation));
        }

        return handle;
    }

    /// <summary>Refuses new requests, lets the live ones finish for at most <paramref name="timeout"/>, then aborts them; the thread ends.</summary>
    public async Task DrainAsync(TimeSpan timeout)
    {
        Refuse();
        Post(new EngineCommand.Drain());
        try
        {
            await Completion.WaitAsync(timeout, _time).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            Post(new EngineCommand.Stop());
            await Completion.ConfigureAwait(false);
        }
    }

    /// <summary>Forgets cached prefixes that no live request uses.</summary>
    public void ClearPrefixCache() => Post(new EngineCommand.ClearPrefixes());

    /// <summary>Aborts everything and waits for the thread to end and the backend to be disposed; not for a thread that was given up.</summary>
    public async ValueTask DisposeAsync()
    {
        Refuse();
        Post(new EngineCommand.Stop());
        await Completion.ConfigureAwait(false);
    }

    private static void Check(GenerationRequest request, BackendInfo info)
    {
        var length = request.Prompt.Length;
        if (length < 1 || length >= info.MaxModelLength)
        {
            throw new ArgumentException($"A prompt has 1 to {info.MaxModelLength - 1} tokens, not {length}.", nameof(request));
        }

        if (request.MaxTokens < 1 || request.MaxTokens > info.MaxModelLength - length)
        {
            throw new ArgumentException($"MaxTokens is 1 to {info.MaxModelLength - length} after {length} prompt tokens, not {request.MaxTokens}.", nameof(request));
        }

        if (request.Choices < 1 || request.Choices > info.SlotCount || (request.ForcedTokens is not null && request.Choices != 1))
        {
            throw new ArgumentException($"Choices is 1 to {info.SlotCount} (1 with forced tokens), not {request.Choices}.", nameof(request));
        }

        if (request.ForcedTokens is { } forced && forced.Length != request.MaxTokens)
        {
            throw new ArgumentException($"{forced.Length} forced tokens need MaxTokens {forced.Length}, not {request.MaxTokens}.", nameof(request));
        }

        if (request.AllowedTokens is { } allowed && (allowed.Length != (info.VocabularySize + 31) / 32 || Array.TrueForAll(allowed, word => word == 0)))
        {
            throw new ArgumentException($"AllowedTokens needs {(info.VocabularySize + 31) / 32} words, not all 0.", nameof(request));
        }

        if (request.Grammar is { } grammar
            && (grammar.MaskWords != (info.VocabularySize + 31) / 32 || request.AllowedTokens is not null || request.ForcedTokens is not null))
        {
            throw new ArgumentException(
                $"A grammar needs masks of {(info.VocabularySize + 31) / 32} words and excludes AllowedTokens and ForcedTokens.", nameof(request));
        }

        foreach (var token in request.Prompt)
        {
            if ((uint)token >= (uint)info.VocabularySize)
            {
                throw new ArgumentException($"Token {token} is outside the vocabulary of {info.VocabularySize}.", nameof(request));
            }
        }
    }

    private void Refuse()
    {
        lock (_gate)
        {
            if (_state is EngineState.Ready or EngineState.Loading)
            {
                _state = EngineState.Draining;
            }
        }
    }

    private void Post(EngineCommand command)
    {
        _commands.Enqueue(command);
        _wake.Set();
    }

    private void Run()
    {
        IStepBackend? backend = null;
        EngineLoop? loop = null;
        ITimer? timer = null;
        try
        {
            backend = _createBackend();
            _watch = new StepWatch(backend, _time);
            loop = new EngineLoop(_watch, _options, Stats, _time, _commands, _wake);
            lock (_gate)
            {
                _state = _state == EngineState.Loading ? EngineState.Ready : _state;
            }

            _loaded.SetResult(backend.Info);
            timer = StartTimer(loop, _watch);
            loop.Run();
            Dispose(backend);
            End(EngineState.Stopped);
        }
        catch (Exception exception) when (!IsAbandoned)
        {
            Fault = new EngineFault(exception.Message, exception);
            End(EngineState.Faulted);
            loop?.Fail($"The engine failed: {exception.Message}");
            _loaded.TrySetException(exception);
            // after a device fault disposal may fail too, and then says nothing new
            Dispose(backend);
        }
        catch (Exception) when (IsAbandoned)
        {
            // everybody has been told by the thread that gave this one up
        }
        finally
        {
            timer?.Dispose();
            _completion.TrySetResult();
        }
    }

    /// <summary>Looks often enough that a call is given up an eighth past its time at the latest.</summary>
    private ITimer? StartTimer(EngineLoop loop, StepWatch watch)
    {
        var limit = _options.StepTimeout;
        return limit == Timeout.InfiniteTimeSpan ? null : _time.CreateTimer(_ => Look(), null, limit / 8, limit / 8);

        void Look()
        {
            if (!watch.TryGiveUp(limit))
            {
                return;
            }

            var message = $"a step did not end within {limit.TotalSeconds:0.#} s: the device hangs";
            Fault = new EngineFault(message, new TimeoutException(message));
            End(EngineState.Faulted);
            loop.Fail($"The engine failed: {message}");
            _completion.TrySetResult();
        }
    }

    private void End(EngineState state)
    {
        lock (_gate)
        {
            _state = state;
        }
    }

    private void Dispose(IStepBackend? backend)
    {
        try
        {
            backend?.Dispose();
        }
        catch (EngineFaultException) when (Fault is not null)
        {
        }
    }
}

/// <summary>A request came when the engine does not take any.</summary>
public sealed class EngineNotReadyException : Exception
{
    public EngineNotReadyException(EngineState state, string message)
        : base(message) => State = state;

    /// <summary>Ready means: the waiting queue is full.</summary>
    public EngineState State { get; }
}
