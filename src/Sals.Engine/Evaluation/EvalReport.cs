namespace Sals.Engine.Evaluation;

/// <summary>What was evaluated and how, beside every table.</summary>
/// <param name="Model">As the user named it.</param>
/// <param name="Backend">Device that computed.</param>
/// <param name="Seed">Of the prompts; 0 where nothing is drawn.</param>
/// <param name="Text">Name of the haystack or held-out text.</param>
/// <param name="TextFingerprint">Of its characters.</param>
/// <param name="Caches">Settings of every cache, in words that --sals takes.</param>
public sealed record EvalSetup(string Model, string Backend, int Seed, string Text, string TextFingerprint, IReadOnlyList<string> Caches);

/// <summary>Retrieval with one cache at one length.</summary>
public sealed record NeedleRow
{
    public required string Cache { get; init; }

    /// <summary>Tokens of prompt and answer.</summary>
    public required int Length { get; init; }

    public required int Samples { get; init; }

    /// <summary>Greedy answers that equal the right one whole and then ended.</summary>
    public required int Exact { get; init; }

    /// <summary>Answers that hold the value that was asked for.</summary>
    public required int Found { get; init; }

    /// <summary>[Samples], which were exact.</summary>
    public required bool[] Right { get; init; }

    /// <summary>Exact matches, 0..1.</summary>
    public double Accuracy => new Proportion(Exact, Samples).Share;

    public double StandardError => new Proportion(Exact, Samples).StandardError;

    public double IntervalLow => new Proportion(Exact, Samples).Interval.Low;

    public double IntervalHigh => new Proportion(Exact, Samples).Interval.High;

    /// <summary>Prompt and generated tokens over the seconds that the row took, several requests at once.</summary>
    public required double TokensPerSecond { get; init; }

    public required CacheUse Use { get; init; }
}

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

/// <summary>Answers of the engine to rows of the tables.</summary>
public static class EvalScores
{
    /// <param name="answers">To <paramref name="prompts"/>, in order.</param>
    /// <param name="decode">Ids → text.</param>
    public static NeedleRow Needle(
        string cache, int length, IReadOnlyList<EvalPrompt> prompts, IReadOnlyList<EvalAnswer> answers, Func<int[], string> decode, double seconds, CacheUse use)
    {
        string[] texts = [.. answers.Select(answer => decode(answer.Tokens))];
        bool[] right = [.. prompts.Select((prompt, i) => answers[i].Ended && texts[i] == prompt.Answer)];
        return new NeedleRow
        {
            Cache = cache,
            Length = length,
            Samples = prompts.Count,
            Exact = right.Count(exact => exact),
            Found = prompts.Where((prompt, i) => texts[i].Contains(prompt.Value, StringComparison.Ordinal)).Count(),
            Right = right,
            TokensPerSecond = (prompts.Sum(prompt => (long)prompt.Prompt.Length) + answers.Sum(answer => (long)answer.Trace.GeneratedTokens)) / seconds,
            Use = use,
        };
    }

    /// <param name="answers">Of <see cref="EvalRun.ForceAsync"/>.</param>
    /// <exception cref="EvalException">A log-probability is not finite.</exception>
    public static PerplexityRow Perplexity(string cache, int promptTokens, IReadOnlyList<EvalAnswer> answers, double seconds, CacheUse use)
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
            TokensPerSecond = answers.Count * (promptTokens + (double)forced) / seconds,
            Use = use,
        };
    }
}
