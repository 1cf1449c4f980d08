namespace Sals.Engine.Sampling;

/// <summary>What one sampled row may do with its logits. Valid by construction: <c>RequestReader</c> checks ranges and names the field.</summary>
/// <remarks>
/// Order of operations, the same on both backends: logit_bias, min_tokens mask, allowed-token mask, repetition penalty (prompt and
/// output), presence and frequency penalties (output), temperature, min_p, top_k, top_p, draw.
/// Log-probabilities are of the raw logits, before any of it. Ties in top-k and greedy: smaller id first.
/// </remarks>
public sealed record SamplingOptions
{
    /// <summary>0 = greedy.</summary>
    public float Temperature { get; init; } = 1;

    /// <summary>0 = off.</summary>
    public int TopK { get; init; }

    /// <summary>(0, 1]; 1 = off.</summary>
    public float TopP { get; init; } = 1;

    /// <summary>[0, 1]; 0 = off. Relative to the most probable token.</summary>
    public float MinP { get; init; }

    public float PresencePenalty { get; init; }

    public float FrequencyPenalty { get; init; }

    /// <summary>Greater than 0; 1 = off.</summary>
    public float RepetitionPenalty { get; init; } = 1;

    /// <summary>Added to the logits; at most 1,024 entries, ids within the vocabulary.</summary>
    public KeyValuePair<int, float>[] LogitBias { get; init; } = [];

    /// <summary>Seed of the counter-based generator. With <see cref="Stream"/> and the position it fixes every draw.</summary>
    public ulong Seed { get; init; }

    /// <summary>Choice index of an n > 1 request.</summary>
    public uint Stream { get; init; }

    /// <summary>Ids that cannot be sampled before <see cref="MinTokens"/> tokens exist: end tokens and stop ids; at most 16 + end ids.</summary>
    public int[] HeldBackIds { get; init; } = [];

    /// <summary>Generated tokens before <see cref="HeldBackIds"/> are allowed.</summary>
    public int MinTokens { get; init; }

    /// <summary>-1 = no log-probabilities; 0 = of the sampled token; N = also of the N most probable, at most 20.</summary>
    public int LogProbabilities { get; init; } = -1;

    public bool Greedy => Temperature <= 0;
}
