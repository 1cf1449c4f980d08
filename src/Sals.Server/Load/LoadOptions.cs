using System.Text.Json;

namespace Sals.Server.Load;

/// <summary>Which API the requests go to.</summary>
public enum LoadApi
{
    /// <summary>POST /v1/completions with lists of token ids: prompts of exact length on every server.</summary>
    Completions,

    /// <summary>POST /v1/chat/completions with one user message of words; the server's usage says how long it was.</summary>
    Chat,
}

/// <summary>A latency a request must keep to count as good.</summary>
public sealed record LoadGoal(LoadMetric Metric, double Milliseconds);

/// <summary>What sals load is asked to do.</summary>
public sealed record LoadOptions
{
    /// <summary>Scheme, host and port, with no slash at the end.</summary>
    public required string BaseUrl { get; init; }

    public LoadApi Api { get; init; }

    /// <summary>Null = the first one the server names.</summary>
    public string? Model { get; init; }

    public string? ApiKey { get; init; }

    public int Requests { get; init; } = 1000;

    /// <summary>Arrivals a second; infinite = as fast as <see cref="MaxConcurrency"/> lets.</summary>
    public double RequestRate { get; init; } = double.PositiveInfinity;

    /// <summary>Shape of the gamma distribution of the times between arrivals: 1 = Poisson, less = bursts, more = even.</summary>
    public double Burstiness { get; init; } = 1;

    /// <summary>Requests in flight at once; null = no bound.</summary>
    public int? MaxConcurrency { get; init; }

    /// <summary>Mean tokens (words in chat) of a prompt behind its prefix.</summary>
    public int InputLength { get; init; } = 1024;

    public int OutputLength { get; init; } = 128;

    /// <summary>Lengths are uniform between (1 - ratio) and (1 + ratio) times the mean.</summary>
    public double RangeRatio { get; init; }

    /// <summary>Tokens (words) that prompts begin with in common.</summary>
    public int PrefixLength { get; init; }

    /// <summary>Different prefixes, taken in turn.</summary>
    public int Prefixes { get; init; } = 1;

    /// <summary>Token ids are drawn from 16 to below this.</summary>
    public int VocabularySize { get; init; } = 8192;

    public bool IgnoreEndToken { get; init; }

    /// <summary>Asks for a token count with each event, which makes inter-token times exact where an event holds several tokens.</summary>
    public bool ContinuousUsage { get; init; } = true;

    /// <summary>Fields added to every request.</summary>
    public JsonElement? ExtraBody { get; init; }

    public IReadOnlyList<LoadGoal> Goals { get; init; } = [];

    public long Seed { get; init; }

    public int Warmups { get; init; } = 1;

    /// <summary>How long the server may take to answer GET /v1/models before the run is given up.</summary>
    public TimeSpan WaitForServer { get; init; }

    /// <summary>Of one request.</summary>
    public TimeSpan Timeout { get; init; } = TimeSpan.FromHours(1);

    public int MaxInput => PrefixLength + Most(InputLength);

    public int MaxOutput => Most(OutputLength);

    private int Most(int mean) => (int)Math.Floor(mean * (1 + RangeRatio));
}

/// <summary>A condition under which no load can be measured; its message says why.</summary>
public sealed class LoadException : Exception
{
    public LoadException(string message)
        : base(message)
    {
    }
}
