namespace Sals.Engine.Text.Answers;

/// <summary>Recognises from a chat template how its model writes tool calls and reasoning.</summary>
public static class FamilyFormats
{
    /// <summary>Null when the template knows no tools, or writes calls in a way that is not known here.</summary>
    public static ToolCallFormat? Calls(string template, Tokenizer tokenizer) =>
        Has(template, ToolCallMarks.Mistral) ? Mistral(tokenizer)
        : Has(template, ToolCallMarks.HermesBegin) ? ToolCallFormat.Hermes
        : Has(template, "tools") && (Has(template, ToolCallMarks.Llama) || (Has(template, "<|start_header_id|>") && Has(template, "\"parameters\""))) ? ToolCallFormat.Llama
        : null;

    /// <summary>Which of Mistral's forms: newer vocabularies have a token before the arguments.</summary>
    public static ToolCallFormat Mistral(Tokenizer tokenizer) =>
        tokenizer.TokenId(ToolCallMarks.MistralArguments) is { } id && tokenizer.IsSpecial(id) ? ToolCallFormat.MistralArguments : ToolCallFormat.Mistral;

    /// <summary>The template knows reasoning: it removes it from older answers, or opens it.</summary>
    public static bool Reasons(string template) => Has(template, ReasoningMarks.End);

    private static bool Has(string template, string text) => template.Contains(text, StringComparison.Ordinal);
}
