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

    /// <summary>Only with prompt_logprobs.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<IReadOnlyDictionary<string, PromptLogProbability>?>? PromptLogprobs { get; init; }

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

/// <summary>One token at one place of a prompt, in vLLM's form.</summary>
/// <param name="Rank">1 = the most probable; null when it is not among the ones that were asked for.</param>
public sealed record PromptLogProbability(double Logprob, int? Rank, string DecodedToken);
