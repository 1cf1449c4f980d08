namespace Sals.Engine.Evaluation;

/// <summary>One question, fitted to a length, as it is put to every cache.</summary>
public sealed record EvalItem
{
    /// <summary>Task or subset.</summary>
    public required string Task { get; init; }

    /// <summary>Tokens of prompt and longest answer that were aimed at; 0 where a data set sets the length.</summary>
    public required int Length { get; init; }

    /// <summary>Which sample.</summary>
    public required int Number { get; init; }

    /// <summary>Ids of the whole prompt, as the model's chat template prints it, and the beginning of the answer.</summary>
    public required int[] Prompt { get; init; }

    /// <summary>The user's message, for servers that take messages.</summary>
    public required string Message { get; init; }

    /// <summary>Words that begin the answer for the model; may be empty.</summary>
    public required string AnswerPrefix { get; init; }

    /// <summary>References.</summary>
    public required string[] Answers { get; init; }

    /// <summary>Ids of the first reference, for teacher forcing.</summary>
    public required int[] AnswerIds { get; init; }

    /// <summary>Name in <see cref="Metrics.EvalMetric"/>.</summary>
    public required string Metric { get; init; }

    /// <summary>A second metric of the same answer; null = none.</summary>
    public string? SecondMetric { get; init; }

    /// <summary>Classes of a classification; empty otherwise.</summary>
    public string[] Classes { get; init; } = [];

    /// <summary>The answer ends before the first of these, once line breaks in front are gone; empty = it is taken whole.</summary>
    public string[] CutAt { get; init; } = [];

    /// <summary>Most tokens the model may generate.</summary>
    public required int MaxTokens { get; init; }

    /// <summary>What is scored of a text that was generated.</summary>
    public string AnswerOf(string text)
    {
        if (CutAt.Length == 0)
        {
            return text;
        }

        text = text.TrimStart('\n');
        var ends = CutAt.Select(cut => text.IndexOf(cut, StringComparison.Ordinal)).Where(at => at >= 0).ToArray();
        return ends.Length > 0 ? text[..ends.Min()] : text;
    }

    /// <summary>Tokens of prompt and longest answer.</summary>
    public int MaxLength => Prompt.Length + MaxTokens;
}
