namespace Sals.Engine;

/// <summary>One token of one choice, or its end. Struct: nothing is allocated per token unless log-probabilities were asked for.</summary>
public readonly record struct TokenEvent
{
    /// <summary>Choice index, 0 .. n - 1.</summary>
    public int Choice { get; init; }

    /// <summary>The sampled id; -1 when the event only ends the choice (abort, error).</summary>
    public int Token { get; init; }

    /// <summary>Not None on the last event of a choice. A stop token is published with the event that ends the choice.</summary>
    public FinishReason Finish { get; init; }

    /// <summary>The end token or stop id that ended the choice; -1 when it ended otherwise. Its text is not part of the answer.</summary>
    public int StopToken { get; init; }

    /// <summary>Null unless asked for.</summary>
    public TokenLogProbability[]? Top { get; init; }

    /// <summary>Natural logarithm, raw logits; 0 unless asked for.</summary>
    public float LogProbability { get; init; }

    /// <summary>Why, on <see cref="FinishReason.Error"/>.</summary>
    public string? Error { get; init; }
}

public readonly record struct TokenLogProbability(int Token, float LogProbability);
