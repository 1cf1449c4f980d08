using System.Text.Json.Serialization;

namespace Sals.Engine.Evaluation.Results;

/// <summary>One answer with its score, a line of the result file. Everything a table needs is in it, so that a run that was stopped goes on.</summary>
public sealed record EvalResult
{
    /// <summary>Label of the cache.</summary>
    public required string Cache { get; init; }

    public required string Task { get; init; }

    public required int Length { get; init; }

    public required int Number { get; init; }

    /// <summary>0..1</summary>
    public required double Score { get; init; }

    /// <summary>Another metric of the same answer; null where there is one only.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public double? SecondScore { get; init; }

    /// <summary>What the model said.</summary>
    public required string Answer { get; init; }

    public required int PromptTokens { get; init; }

    /// <summary>Prompt and most tokens of the answer.</summary>
    public required int MaxLength { get; init; }

    public required int GeneratedTokens { get; init; }

    /// <summary>Counts of <see cref="GenerationTrace"/>; 0 for an answer that a server gave.</summary>
    public int DecodedTokens { get; init; }

    public int SparseTokens { get; init; }

    public int SparseLayerTokens { get; init; }

    public int ScoredLayerTokens { get; init; }

    public long SelectedTokens { get; init; }

    public int CacheTokens { get; init; }

    public int DensePages { get; init; }

    public int HotPages { get; init; }

    public int LatentPages { get; init; }

    /// <summary>The counts as the engine had them.</summary>
    public GenerationTrace ToTrace() => new()
    {
        GeneratedTokens = GeneratedTokens,
        DecodedTokens = DecodedTokens,
        SparseTokens = SparseTokens,
        SparseLayerTokens = SparseLayerTokens,
        ScoredLayerTokens = ScoredLayerTokens,
        SelectedTokens = SelectedTokens,
        CacheTokens = CacheTokens,
        CachePages = new PageCounts(DensePages, HotPages, LatentPages),
    };

    /// <param name="text">The answer, without end token.</param>
    public static EvalResult Of(string cache, EvalItem item, EvalAnswer answer, string text) => new()
    {
        Cache = cache,
        Task = item.Task,
        Length = item.Length,
        Number = item.Number,
        Score = Metrics.EvalMetric.Score(item.Metric, item.AnswerOf(text), item.Answers, item.Classes, answer.Ended),
        SecondScore = item.SecondMetric is { } second ? Metrics.EvalMetric.Score(second, item.AnswerOf(text), item.Answers, item.Classes, answer.Ended) : null,
        Answer = text,
        PromptTokens = item.Prompt.Length,
        MaxLength = item.MaxLength,
        GeneratedTokens = answer.Trace.GeneratedTokens,
        DecodedTokens = answer.Trace.DecodedTokens,
        SparseTokens = answer.Trace.SparseTokens,
        SparseLayerTokens = answer.Trace.SparseLayerTokens,
        ScoredLayerTokens = answer.Trace.ScoredLayerTokens,
        SelectedTokens = answer.Trace.SelectedTokens,
        CacheTokens = answer.Trace.CacheTokens,
        DensePages = answer.Trace.CachePages.Dense,
        HotPages = answer.Trace.CachePages.Hot,
        LatentPages = answer.Trace.CachePages.Latent,
    };
}
