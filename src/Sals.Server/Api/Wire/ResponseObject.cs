using System.Text.Json;
using System.Text.Json.Serialization;

namespace Sals.Server.Api.Wire;

/// <summary>Answer of POST /v1/responses, OpenAI's response object. Nothing is stored: store is always false.</summary>
public sealed record ResponseObject(string Id, long CreatedAt, string Model, string Status, IReadOnlyList<ResponseItem> Output)
{
    [JsonPropertyOrder(-1)]
    public string Object => "response";

    public bool Background => false;

    public long? CompletedAt { get; init; }

    public ResponseError? Error { get; init; }

    public ResponseIncomplete? IncompleteDetails { get; init; }

    public string? Instructions { get; init; }

    public long? MaxOutputTokens { get; init; }

    public long? MaxToolCalls => null;

    public JsonElement Metadata { get; init; }

    public bool ParallelToolCalls { get; init; }

    public string? PreviousResponseId => null;

    public ResponseReasoning Reasoning { get; init; } = new(null);

    public string ServiceTier => "default";

    public bool Store => false;

    public double Temperature { get; init; }

    public ResponseText Text { get; init; } = new(default);

    public JsonElement ToolChoice { get; init; }

    public IReadOnlyList<JsonElement> Tools { get; init; } = [];

    public int TopLogprobs { get; init; }

    public double TopP { get; init; }

    public string Truncation => "disabled";

    /// <summary>Null until the answer has ended.</summary>
    public ResponseUsage? Usage { get; init; }
}

public sealed record ResponseError(string Code, string Message);

public sealed record ResponseIncomplete(string Reason);

public sealed record ResponseReasoning(string? Effort)
{
    public string? Summary => null;
}

public sealed record ResponseText(JsonElement Format);

public sealed record ResponseUsage(int InputTokens, ResponseInputDetails InputTokensDetails, int OutputTokens, ResponseOutputDetails OutputTokensDetails, int TotalTokens);

public sealed record ResponseInputDetails(int CachedTokens);

public sealed record ResponseOutputDetails(int ReasoningTokens);

/// <summary>One item of the output: a message, a function call, or reasoning. Only the fields of its type are written.</summary>
public sealed record ResponseItem(string Id, string Type, string Status)
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Role { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<ResponsePart>? Content { get; init; }

    /// <summary>Of reasoning: always empty, the reasoning itself is the content.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<string>? Summary { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? CallId { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Name { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Arguments { get; init; }
}

/// <param name="Type">output_text or reasoning_text.</param>
public sealed record ResponsePart(string Type, string Text)
{
    /// <summary>Of output_text: always empty.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<string>? Annotations { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<ChatTokenLogProbability>? Logprobs { get; init; }
}

/// <summary>An event of a streamed response. Only the fields of its type are written.</summary>
public sealed record ResponseEvent(string Type, int SequenceNumber)
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public ResponseObject? Response { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public int? OutputIndex { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public ResponseItem? Item { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? ItemId { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public int? ContentIndex { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public ResponsePart? Part { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Delta { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Text { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Name { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Arguments { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<ChatTokenLogProbability>? Logprobs { get; init; }
}
