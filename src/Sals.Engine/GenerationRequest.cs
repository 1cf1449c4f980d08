using Sals.Engine.Grammar;
using Sals.Engine.Sampling;

namespace Sals.Engine;

/// <summary>A request that is valid: every bound has been checked at the door and nothing below checks again.</summary>
public sealed record GenerationRequest
{
    /// <summary>Shown in logs and responses.</summary>
    public required string Id { get; init; }

    /// <summary>At least one id, each below the vocabulary size, fewer than the model's length.</summary>
    public required int[] Prompt { get; init; }

    /// <summary>Settings of choice 0; choice i uses stream i of the same seed.</summary>
    public required SamplingOptions Sampling { get; init; }

    /// <summary>Most tokens of a choice, at least 1; prompt and output together never exceed the model's length.</summary>
    public required int MaxTokens { get; init; }

    /// <summary>n, 1 .. slots.</summary>
    public int Choices { get; init; } = 1;

    /// <summary>Ids that end a choice: the model's end tokens (unless ignore_eos) and the request's stop_token_ids.</summary>
    public int[] StopTokenIds { get; init; } = [];

    /// <summary>Separates prefix-cache entries of tenants; null = shared.</summary>
    public string? CacheSalt { get; init; }

    /// <summary>Prefixes may be taken from and left in the cache.</summary>
    public bool UsePrefixCache { get; init; } = true;

    /// <summary>Smaller is served first; equal priorities in order of arrival.</summary>
    public int Priority { get; init; }

    /// <summary>
    /// Teacher forcing: these ids are fed as decode rows instead of what is sampled, and the choice ends after the last one.
    /// Each event reports the forced id and its log-probability. Null = generate. Needs Choices = 1.
    /// </summary>
    public int[]? ForcedTokens { get; init; }

    /// <summary>
    /// Tokens that may be sampled: bit t % 32 of word t / 32 is token t, [ceil(V / 32)], at least one bit set; the stop ids need theirs to be able to
    /// end a choice. Null = all. Shared, never written to.
    /// </summary>
    public uint[]? AllowedTokens { get; init; }

    /// <summary>
    /// Every choice follows this grammar from its first token to its end: it may stop only where its text is complete, and ends by itself where nothing
    /// may follow. Needs <see cref="AllowedTokens"/> and <see cref="ForcedTokens"/> to be null. Null = free text.
    /// </summary>
    public TokenGrammar? Grammar { get; init; }
}
