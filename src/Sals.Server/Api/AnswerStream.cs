namespace Sals.Server.Api;

/// <summary>
/// Streams an answer: opening events, pieces as they come, closing events. The status waits for the first piece or a grace period,
/// so that early failures keep theirs; after it a failure is an error event and an aborted connection, without the closing events, so that every client
/// notices.
/// </summary>
public sealed class AnswerStream
{
    /// <summary>How long the 200 may wait for the first token.</summary>
    public static readonly TimeSpan Grace = TimeSpan.FromSeconds(1);

    private readonly HttpContext _context;
    private readonly Generation _generation;
    private readonly IAnswerFormat _format;
    private readonly TimeSpan _pingInterval;
    private readonly TimeProvider _time;
    private Task? _quiet;

    /// <param name="pingInterval">Zero = no pings.</param>
    public AnswerStream(HttpContext context, Generation generation, IAnswerFormat format, TimeSpan pingInterval, TimeProvider time)
    {
        _context = context;
        _generation = generation;
        _format = format;
        _pingInterval = pingInterval > TimeSpan.Zero ? pingInterval : Timeout.InfiniteTimeSpan;
        _time = time;
    }

    /// <exception cref="ApiException">The engine failed before the response began.</exception>
    public async Task RunAsync()
    {
        var cancel = _context.RequestAborted;
        var waiting = _generation.WaitAsync(cancel);
        await Task.WhenAny(waiting, Task.Delay(Grace, _time, cancel));
        var ready = waiting.IsCompleted;
        var has = false;
        Piece piece = default;
        if (ready)
        {
            await waiting;
            has = _generation.TryRead(out piece);
        }

        Begin(_context.Response);
        using var stream = new SseWriter(_context, _time);
        try
        {
            _format.Open(stream);
            await CopyAsync(stream, ready ? null : waiting, has, piece, cancel);
            _format.Close(stream);
            await stream.FlushAsync(cancel);
        }
        catch (Exception exception) when (!cancel.IsCancellationRequested && exception is not OperationCanceledException)
        {
            _format.Fail(stream, ErrorResponse.Map(exception));
            await stream.FlushAsync(cancel);
            if (_format.FailureEndsStream)
            {
                return;
            }

            // give the event a moment on the wire, also on a busy machine: an abort resets the connection and may overtake it
            await Task.Delay(TimeSpan.FromMilliseconds(300), _time, CancellationToken.None);
            _context.Abort();
        }
    }

    private async Task CopyAsync(SseWriter stream, Task? waiting, bool has, Piece piece, CancellationToken cancel)
    {
        while (true)
        {
            while (has)
            {
                _format.Write(stream, piece);
                has = _generation.TryRead(out piece);
            }

            if (_generation.Finished)
            {
                return;
            }

            await stream.FlushAsync(cancel);
            waiting ??= _generation.WaitAsync(cancel);
            while (!waiting.IsCompleted && await Task.WhenAny(waiting, Quiet(cancel)) != waiting)
            {
                stream.Ping();
                await stream.FlushAsync(cancel);
            }

            await waiting;
            waiting = null;
            has = _generation.TryRead(out piece);
        }
    }

    /// <summary>Completes when the stream should say that it lives. One timer serves many waits: a ping may come early, never late.</summary>
    private Task Quiet(CancellationToken cancel)
    {
        if (_quiet is null || _quiet.IsCompleted)
        {
            _quiet = Task.Delay(_pingInterval, _time, cancel);
        }

        return _quiet;
    }

    private static void Begin(HttpResponse response)
    {
        response.StatusCode = StatusCodes.Status200OK;
        response.ContentType = "text/event-stream; charset=utf-8";
        response.Headers.CacheControl = "no-cache";
        response.Headers["X-Accel-Buffering"] = "no";
    }
}
