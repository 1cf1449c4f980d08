namespace Sals.Server.Api;

/// <summary>How pieces of an answer look on the wire: chat or completions.</summary>
public interface IAnswerFormat
{
    /// <summary>Events that open a stream, before any token.</summary>
    void Open(SseWriter stream);

    void Write(SseWriter stream, in Piece piece);

    /// <summary>The event with usage and no choices, after the last choice has ended.</summary>
    void WriteUsage(SseWriter stream);

    /// <summary>The whole answer at once.</summary>
    Task WriteWholeAsync(HttpResponse response, IReadOnlyList<Answer> answers, CancellationToken cancel);
}
