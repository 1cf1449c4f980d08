namespace Sals.Engine;

/// <summary>Resolved settings of the engine; nothing here means "auto".</summary>
public sealed record EngineOptions
{
    /// <summary>Prefix reuse on or off (--enable-prefix-caching).</summary>
    public bool PrefixCaching { get; init; } = true;

    /// <summary>Prefill time a step may carry beside decode rows, milliseconds.</summary>
    public double PrefillBudgetMilliseconds { get; init; } = 20;

    /// <summary>Upper bound on prefill tokens of one layer in a step (--max-num-batched-tokens).</summary>
    public int MaxBatchedTokens { get; init; } = 8192;

    /// <summary>Requests that may wait in the engine; Start beyond it throws. The server's gate keeps below it.</summary>
    public int MaxWaiting { get; init; } = 1024;

    /// <summary>A call of the backend that takes longer is given up: the engine faults.</summary>
    public TimeSpan StepTimeout { get; init; } = Timeout.InfiniteTimeSpan;

    /// <summary>Distinguishes cache entries of different weights or bases.</summary>
    public string Fingerprint { get; init; } = "";

    /// <summary>Check every pool and table after each step (tests, soak).</summary>
    public bool CheckIntegrity { get; init; }
}
