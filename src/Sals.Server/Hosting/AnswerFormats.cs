using Sals.Engine.Text;
using Sals.Engine.Text.Answers;
using Sals.Server.Options;

namespace Sals.Server.Hosting;

/// <summary>How the model writes what is more than text, from its chat template or the settings.</summary>
public sealed record AnswerFormats
{
    public static readonly AnswerFormats Unknown = new();

    /// <summary>The form of calls that are asked for; Hermes' where nothing is known, which is plain text.</summary>
    public ToolCallFormat Calls { get; init; }

    /// <summary>The model is shown tools and its own calls are recognised.</summary>
    public bool CallsKnown { get; init; }

    /// <summary>Where an answer begins when the prompt says nothing: Closed for a model without reasoning.</summary>
    public ReasoningStart Reasoning { get; init; }

    public static AnswerFormats Resolve(SalsOptions options, ChatTemplate? template, Tokenizer? tokenizer)
    {
        if (template is null || tokenizer is null)
        {
            return Unknown;
        }

        ToolCallFormat? calls = options.ToolCallParser switch
        {
            "hermes" => ToolCallFormat.Hermes,
            "llama3_json" => ToolCallFormat.Llama,
            "mistral" => FamilyFormats.Mistral(tokenizer),
            _ => FamilyFormats.Calls(template.Source, tokenizer),
        };
        return new AnswerFormats
        {
            Calls = calls ?? ToolCallFormat.Hermes,
            CallsKnown = calls is not null,
            Reasoning = options.ReasoningParser switch
            {
                "deepseek_r1" => ReasoningStart.Open,
                "qwen3" => ReasoningStart.Optional,
                "none" => ReasoningStart.Closed,
                _ => FamilyFormats.Reasons(template.Source) ? ReasoningStart.Optional : ReasoningStart.Closed,
            },
        };
    }

    /// <summary>A line for the start of the log; null when there is nothing to say.</summary>
    public string? Describe() => !CallsKnown && Reasoning == ReasoningStart.Closed ? null
        : $"Answers: tool calls {(CallsKnown ? Calls.ToString() : "not shown to the model")}, reasoning {(Reasoning == ReasoningStart.Closed ? "none" : "split off")}";

    /// <summary>Where an answer begins behind this prompt: most templates open or end reasoning themselves.</summary>
    /// <param name="prompt">The rendered prompt.</param>
    public ReasoningStart After(string prompt)
    {
        if (Reasoning == ReasoningStart.Closed)
        {
            return ReasoningStart.Closed;
        }

        var end = prompt.AsSpan().TrimEnd();
        return end.EndsWith(ReasoningMarks.Begin) ? ReasoningStart.Open : end.EndsWith(ReasoningMarks.End) ? ReasoningStart.Closed : Reasoning;
    }
}
