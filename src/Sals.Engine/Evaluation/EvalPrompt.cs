namespace Sals.Engine.Evaluation;

/// <summary>One question with one right answer.</summary>
public sealed record EvalPrompt
{
    /// <summary>Ids of the whole prompt, as the model's chat template prints it.</summary>
    public required int[] Prompt { get; init; }

    /// <summary>What the model should say, whole and without end token.</summary>
    public required string Answer { get; init; }

    /// <summary>The part of <see cref="Answer"/> that had to be found in the prompt.</summary>
    public required string Value { get; init; }

    /// <summary>Most tokens the model may generate: those of the answer and one that ends the turn.</summary>
    public required int MaxTokens { get; init; }

    /// <summary>Where the needle lies, as a share of the haystack: 0 = at its beginning, 1 = at its end.</summary>
    public required double Depth { get; init; }

    /// <summary>Prompt and answer together, end token included.</summary>
    public int Length => Prompt.Length + MaxTokens;
}
