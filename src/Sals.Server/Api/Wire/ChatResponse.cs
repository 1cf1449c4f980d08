using System.Text.Json.Serialization;

namespace Sals.Server.Api.Wire;

/// <summary>Answer of POST /v1/chat/completions, OpenAI's chat.completion with vLLM's stop_reason and token ids.</summary>
public sealed record ChatResponse(string Id, long Created, string Model, IReadOnlyList<ChatChoice> Choices, Usage Usage)
{
    [JsonPropertyOrder(-1)]
    public string Object => "chat.completion";

    /// <summary>Only with prompt_logprobs.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<IReadOnlyDictionary<string, PromptLogProbability>?>? PromptLogprobs { get; init; }

    /// <summary>Only with return_token_ids.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public int[]? PromptTokenIds { get; init; }
}

public sealed record ChatChoice(int Index, ChatAnswer Message, ChatLogProbabilities? Logprobs, string FinishReason, StopReason StopReason)
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<int>? TokenIds { get; init; }
}

/// <param name="Content">Null when the answer has reasoning or calls and no text.</param>
public sealed record ChatAnswer(string Role, string? Content)
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? ReasoningContent { get; init; }

    /// <summary>vLLM's newer name of the same text.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Reasoning => ReasoningContent;

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<ToolCall>? ToolCalls { get; init; }

    /// <summary>Always null: OpenAI's clients expect the field.</summary>
    public string? Refusal => null;
}

/// <param name="Index">Only in streams.</param>
/// <param name="Id">In streams only with the call's first event, as type and name.</param>
public sealed record ToolCall(
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] int? Index,
    [property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Id,
    ToolCallFunction Function)
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Type => Id is null ? null : "function";
}

/// <param name="Arguments">JSON as the model wrote it, or a piece of it.</param>
public sealed record ToolCallFunction([property: JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)] string? Name, string Arguments);

/// <summary>One event of a streamed chat answer, OpenAI's chat.completion.chunk.</summary>
public sealed record ChatChunk(string Id, long Created, string Model, IReadOnlyList<ChatChunkChoice> Choices)
{
    [JsonPropertyOrder(-1)]
    public string Object => "chat.completion.chunk";

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public UsageField Usage { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public int[]? PromptTokenIds { get; init; }
}

public sealed record ChatChunkChoice(int Index, ChatDelta Delta, ChatLogProbabilities? Logprobs, string? FinishReason)
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public StopReason StopReason { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<int>? TokenIds { get; init; }
}

public sealed record ChatDelta
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Role { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Content { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? ReasoningContent { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Reasoning => ReasoningContent;

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<ToolCall>? ToolCalls { get; init; }
}

/// <summary>Log-probabilities in the form of the chat API, one entry a token.</summary>
public sealed record ChatLogProbabilities(IReadOnlyList<ChatTokenLogProbability> Content)
{
    public IReadOnlyList<ChatTokenLogProbability>? Refusal => null;
}

/// <param name="Bytes">UTF-8 of the token; a token may be part of a character, so only the bytes of a run give its text.</param>
public sealed record ChatTokenLogProbability(
    string Token, double Logprob, IReadOnlyList<int> Bytes, IReadOnlyList<ChatTopLogProbability> TopLogprobs);

public sealed record ChatTopLogProbability(string Token, double Logprob, IReadOnlyList<int> Bytes);
