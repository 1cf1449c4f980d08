namespace Sals.Server.Load;

/// <summary>What became of one request. Times are seconds from the start of the run.</summary>
public sealed class LoadResult
{
    public required int Number { get; init; }

    /// <summary>
    /// When it was due. With a rate this is its arrival by the schedule, whatever the client or the bound on concurrency made of it, so that a server
    /// that stalls cannot hide the requests that had to wait; without a rate it is when a place was free.
    /// </summary>
    public required double Due { get; init; }

    public double Sent { get; set; }

    /// <summary>The first token; NaN when none came.</summary>
    public double First { get; set; } = double.NaN;

    public double End { get; set; }

    /// <summary>As the server counts it; 0 when it does not say.</summary>
    public int PromptTokens { get; set; }

    public int OutputTokens { get; set; }

    /// <summary>Prompt tokens from the prefix cache, where the server says so.</summary>
    public int CachedTokens { get; set; }

    /// <summary>Seconds between a token and the one before. An event of several tokens counts as that many equal gaps.</summary>
    public List<float> Gaps { get; } = [];

    /// <summary>Null = complete; else what went wrong, as a class: HTTP 429, refused, reset, timed out, stream error, incomplete.</summary>
    public string? Failure { get; set; }

    /// <summary>What the server or the network said.</summary>
    public string? Detail { get; set; }

    public double FirstToken => First - Due;

    public double Whole => End - Due;

    /// <summary>Seconds a token after the first; NaN for an answer of one.</summary>
    public double PerToken => OutputTokens > 1 ? (End - First) / (OutputTokens - 1) : double.NaN;
}
