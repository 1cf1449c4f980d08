namespace Sals.Engine.Evaluation;

/// <summary>What was evaluated and how, beside every table.</summary>
/// <param name="Model">As the user named it.</param>
/// <param name="Backend">Device that computed.</param>
/// <param name="Seed">Of the prompts; 0 where nothing is drawn.</param>
/// <param name="Text">Name of the haystack or held-out text.</param>
/// <param name="TextFingerprint">Of its characters.</param>
/// <param name="Caches">Settings of every cache, in words that --sals takes.</param>
public sealed record EvalSetup(string Model, string Backend, int Seed, string Text, string TextFingerprint, IReadOnlyList<string> Caches);

/// <summary>Perplexity with one cache.</summary>
public sealed record PerplexityRow
{
    public required string Cache { get; init; }

    public required int Windows { get; init; }

    public required int PromptTokens { get; init; }

    /// <summary>Scored tokens of a window.</summary>
    public required int ForcedTokens { get; init; }

    /// <summary>[Windows], mean negative log-likelihood of a window, nats a token.</summary>
    public required double[] WindowNats { get; init; }

    public double NatsPerToken => SampleMean.Of(WindowNats).Mean;

    /// <summary>Over windows; null for a single one.</summary>
    public double? StandardError => Windows > 1 ? SampleMean.Of(WindowNats).StandardError : null;

    public double Perplexity => Math.Exp(NatsPerToken);

    public required double TokensPerSecond { get; init; }

    public required CacheUse Use { get; init; }
}

/// <summary>Answers of the engine to rows of the perplexity table.</summary>
public static class EvalScores
{
    /// <param name="answers">Of <see cref="EvalRun.ForceAsync"/>.</param>
    /// <exception cref="EvalException">A log-probability is not finite.</exception>
    public static PerplexityRow Perplexity(string cache, int promptTokens, IReadOnlyList<EvalAnswer> answers, double tokensPerSecond, CacheUse use)
    {
        var nats = answers.Select(answer => answer.LogProbabilities.Skip(1).Average(value => -(double)value)).ToArray();
        if (nats.Any(value => !double.IsFinite(value)))
        {
            throw new EvalException($"--kv-cache {cache}: the log-likelihood of a window is not finite.");
        }

        var forced = answers[0].LogProbabilities.Length - 1;
        return new PerplexityRow
        {
            Cache = cache,
            Windows = answers.Count,
            PromptTokens = promptTokens,
            ForcedTokens = forced,
            WindowNats = nats,
            TokensPerSecond = tokensPerSecond,
            Use = use,
        };
    }
}
