using Sals.Engine.Backends;

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

    /// <summary>The backend died. Final.</summary>
    Faulted,
}

/// <summary>
/// The façade over one model on one backend. Owns the engine thread, which builds, drives and disposes the backend and owns all
/// sequences and pages; every method here may be called from any thread and none waits for a step.
/// </summary>
public sealed class InferenceEngine : IAsyncDisposable
{
    /// <summary>Starts the engine thread, which calls <paramref name="createBackend"/> first. Returns at once; see <see cref="Loaded"/>.</summary>
    public InferenceEngine(Func<IStepBackend> createBackend, EngineOptions options, TimeProvider time) => throw new NotImplementedException();

    public EngineState State => throw new NotImplementedException();

    /// <summary>Completes with the backend's facts when ready to serve; fails with the exception of the backend's construction.</summary>
    public Task<BackendInfo> Loaded => throw new NotImplementedException();

    /// <summary>Completes when the engine thread has ended: drained, disposed or faulted.</summary>
    public Task Completion => throw new NotImplementedException();

    /// <summary>Set when <see cref="State"/> is Faulted.</summary>
    public EngineFault? Fault => throw new NotImplementedException();

    public EngineStats Stats => throw new NotImplementedException();

    /// <summary>Queues a request. The handle's stream always ends with one finishing event per choice, whatever happens.</summary>
    /// <exception cref="EngineNotReadyException">Loading, draining, stopped, faulted, or the waiting queue is full.</exception>
    public GenerationHandle Start(GenerationRequest request) => throw new NotImplementedException();

    /// <summary>Refuses new requests, lets the live ones finish for at most <paramref name="timeout"/>, then aborts them; the thread ends.</summary>
    public Task DrainAsync(TimeSpan timeout) => throw new NotImplementedException();

    /// <summary>Aborts everything and waits for the thread to end and the backend to be disposed.</summary>
    public ValueTask DisposeAsync() => throw new NotImplementedException();
}

/// <summary>A request came when the engine does not take any.</summary>
public sealed class EngineNotReadyException : Exception
{
    public EngineNotReadyException(EngineState state, string message)
        : base(message) => State = state;

    /// <summary>Ready means: the waiting queue is full.</summary>
    public EngineState State { get; }
}
