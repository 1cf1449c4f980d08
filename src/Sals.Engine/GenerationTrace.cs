namespace Sals.Engine;

/// <summary>
/// What happened to a request: timestamps are <see cref="TimeProvider.GetTimestamp"/> values, 0 = not yet. Written by the engine thread only;
/// another thread may read it at any time (64-bit fields) and finds it complete once the event stream has ended.
/// </summary>
public sealed class GenerationTrace
{
    /// <summary>Handed to the engine.</summary>
    public long Arrived { get; set; }

    /// <summary>First prefill slice planned: the end of waiting.</summary>
    public long Started { get; set; }

    /// <summary>First token published.</summary>
    public long FirstToken { get; set; }

    /// <summary>Last token published.</summary>
    public long LastToken { get; set; }

    /// <summary>All choices ended.</summary>
    public long Finished { get; set; }

    /// <summary>Prompt tokens taken from the prefix cache (usage.prompt_tokens_details.cached_tokens).</summary>
    public int CachedTokens { get; set; }

    /// <summary>Tokens generated, all choices, stop tokens included.</summary>
    public int GeneratedTokens { get; set; }

    /// <summary>Times this request gave up its pages and started again.</summary>
    public int Preemptions { get; set; }
}
