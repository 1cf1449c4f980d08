using System.Threading.Channels;

namespace Sals.Engine;

/// <summary>
/// The caller's end of a running request: a stream of token events in order of generation, choices interleaved. Every choice ends
/// with exactly one event whose Finish is set, then the stream completes. Disposing an unfinished handle aborts the request.
/// </summary>
public sealed class GenerationHandle : IAsyncDisposable
{
    private readonly Action<GenerationHandle, int> _abort;
    private readonly Channel<TokenEvent> _events;

    /// <param name="abort">Asks the engine to end one choice, or all of them for -1; callable from any thread, more than once.</param>
    public GenerationHandle(GenerationRequest request, Action<GenerationHandle, int> abort)
    {
        Request = request;
        _abort = abort;
        // unbounded, but never more than MaxTokens * Choices events: a slow reader costs a few integers a token
        _events = Channel.CreateUnbounded<TokenEvent>(new UnboundedChannelOptions { SingleReader = true, SingleWriter = true });
    }

    public GenerationRequest Request { get; }

    /// <summary>Times and counts of the request; written by the engine, complete when the stream has ended.</summary>
    public GenerationTrace Trace { get; } = new();

    public ChannelReader<TokenEvent> Events => _events.Reader;

    /// <summary>The engine's end.</summary>
    internal ChannelWriter<TokenEvent> Writer => _events.Writer;

    /// <summary>Ends every choice; each still gets its finishing event (<see cref="FinishReason.Abort"/>).</summary>
    public void Abort() => _abort(this, -1);

    /// <summary>Ends one choice, because a stop string was found.</summary>
    public void AbortChoice(int choice) => _abort(this, choice);

    public ValueTask DisposeAsync()
    {
        if (!_events.Reader.Completion.IsCompleted)
        {
            Abort();
        }

        return ValueTask.CompletedTask;
    }
}
