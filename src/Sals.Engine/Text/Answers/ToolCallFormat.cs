namespace Sals.Engine.Text.Answers;

/// <summary>How a model family writes tool calls.</summary>
public enum ToolCallFormat
{
    /// <summary>Hermes, Qwen: <c>&lt;tool_call&gt;{"name": .., "arguments": ..}&lt;/tool_call&gt;</c>, any number of them after the text.</summary>
    Hermes,

    /// <summary>Llama 3.1 and later: the whole answer is <c>{"name": .., "parameters": ..}</c>, perhaps after &lt;|python_tag|&gt;; further ones after semicolons.</summary>
    Llama,

    /// <summary>Mistral until its tokenizer of version 7: <c>[TOOL_CALLS] [{"name": .., "arguments": ..}, ..]</c>.</summary>
    Mistral,

    /// <summary>Mistral with newer tokenizers: <c>[TOOL_CALLS]name[ARGS]{..}</c>, each call with its mark.</summary>
    MistralArguments,
}

/// <summary>Texts that mark tool calls.</summary>
public static class ToolCallMarks
{
    public const string HermesBegin = "<tool_call>";
    public const string HermesEnd = "</tool_call>";
    public const string Llama = "<|python_tag|>";
    public const string Mistral = "[TOOL_CALLS]";
    public const string MistralArguments = "[ARGS]";
    public const string MistralId = "[CALL_ID]";

    /// <summary>Those that may be special tokens, whose text would otherwise be left out of an answer.</summary>
    public static IReadOnlyList<string> Of(ToolCallFormat format) => format switch
    {
        ToolCallFormat.Hermes => [HermesBegin, HermesEnd],
        ToolCallFormat.Llama => [Llama],
        _ => [Mistral, MistralArguments, MistralId],
    };
}
