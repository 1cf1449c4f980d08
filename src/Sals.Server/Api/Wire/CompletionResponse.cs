using System.Text.Json.Serialization;

namespace Sals.Server.Api.Wire;

/// <summary>Answer of POST /v1/completions and, with fewer fields, each event of its stream: OpenAI's text_completion.</summary>
public sealed record CompletionResponse(string Id, long Created, string Model, IReadOnlyList<CompletionChoice> Choices)
{
    [JsonPropertyOrder(-1)]
    public string Object => "text_completion";

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public UsageField Usage { get; init; }
}

public sealed record CompletionChoice(int Index, string Text, CompletionLogProbabilities? Logprobs, string? FinishReason)
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingDefault)]
    public StopReason StopReason { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public int[]? PromptTokenIds { get; init; }

    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<int>? TokenIds { get; init; }
}

/// <summary>Log-probabilities in the form of the completions API: parallel lists, one entry a token.</summary>
/// <param name="TokenLogprobs">Null for the first token of an echoed prompt, which nothing precedes.</param>
/// <param name="TextOffset">Characters of the choice's text before the token.</param>
public sealed record CompletionLogProbabilities(
    IReadOnlyList<string> Tokens,
    IReadOnlyList<double?> TokenLogprobs,
    IReadOnlyList<IReadOnlyDictionary<string, double>?>? TopLogprobs,
    IReadOnlyList<int> TextOffset);
