namespace Sals.Engine.Text.Answers;

/// <summary>What the text of an answer may consist of.</summary>
public sealed record AnswerLayout
{
    public static readonly AnswerLayout Plain = new();

    public ReasoningStart Reasoning { get; init; }

    /// <summary>Null: no calls are looked for.</summary>
    public ToolCallFormat? Calls { get; init; }

    /// <summary>Names that an answer in Llama's format must have to be a call; without a mark nothing else says so.</summary>
    public IReadOnlySet<string> ToolNames { get; init; } = new HashSet<string>();

    /// <summary>Calls after the first are left out (parallel_tool_calls false).</summary>
    public bool OneCall { get; init; }

    /// <summary>The text is given out as it is.</summary>
    public bool IsPlain => Reasoning == ReasoningStart.Closed && Calls is null;

    /// <summary>Special tokens whose text is needed.</summary>
    public IEnumerable<string> Marks => (Calls is { } format ? ToolCallMarks.Of(format) : [])
        .Concat(Reasoning == ReasoningStart.Closed ? [] : [ReasoningMarks.Begin, ReasoningMarks.End]);
}
