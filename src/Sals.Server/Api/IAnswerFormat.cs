namespace Sals.Server.Api;

/// <summary>How pieces of an answer look on the wire: chat, completions or responses.</summary>
public interface IAnswerFormat
{
    /// <summary>Events that open a stream, before any token.</summary>
    void Open(SseWriter stream);

    void Write(SseWriter stream, in Piece piece);

    /// <summary>Events that close a stream, after the last choice has ended.</summary>
    void Close(SseWriter stream);

    /// <summary>Clients learn of a failure from the event itself; else the connection is broken off, since most read nothing else.</summary>
    bool FailureEndsStream => false;

    /// <summary>The last event of a stream that failed.</summary>
    void Fail(SseWriter stream, ApiError error);

    /// <summary>The whole answer at once.</summary>
    Task WriteWholeAsync(HttpResponse response, IReadOnlyList<Answer> answers, CancellationToken cancel);
}
