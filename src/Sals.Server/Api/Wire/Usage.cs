using System.Text.Json;
using System.Text.Json.Serialization;

namespace Sals.Server.Api.Wire;

/// <summary>Token counts of an answer; cached tokens are the part of the prompt taken from the prefix cache.</summary>
public sealed record Usage(int PromptTokens, int CompletionTokens, int TotalTokens, PromptTokensDetails PromptTokensDetails)
{
    /// <summary>Only of models that reason.</summary>
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public CompletionTokensDetails? CompletionTokensDetails { get; init; }

    /// <param name="reasoning">Null = the answer has none.</param>
    public static Usage Of(int prompt, int completion, int cached, int? reasoning = null) =>
        new(prompt, completion, prompt + completion, new PromptTokensDetails(cached)) { CompletionTokensDetails = reasoning is { } tokens ? new CompletionTokensDetails(tokens) : null };
}

public sealed record CompletionTokensDetails(int ReasoningTokens);

public sealed record PromptTokensDetails(int CachedTokens);

/// <summary>
/// A usage field in one of three states: absent (default), present but null (every chunk of a stream with include_usage), or a value.
/// </summary>
[JsonConverter(typeof(UsageFieldConverter))]
public readonly record struct UsageField(bool Present, Usage? Value)
{
    public static UsageField Null => new(true, null);

    public static UsageField Of(Usage usage) => new(true, usage);
}

public sealed class UsageFieldConverter : JsonConverter<UsageField>
{
    public override UsageField Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        throw new NotSupportedException();

    public override void Write(Utf8JsonWriter writer, UsageField value, JsonSerializerOptions options)
    {
        if (value.Value is null)
        {
            writer.WriteNullValue();
        }
        else
        {
            JsonSerializer.Serialize(writer, value.Value, WireJson.Default.Usage);
        }
    }
}

/// <summary>vLLM's stop_reason: the stop string or stop id that ended a choice, null for the model's own end token or a limit.</summary>
[JsonConverter(typeof(StopReasonConverter))]
public readonly record struct StopReason(string? Text, int? Token);

public sealed class StopReasonConverter : JsonConverter<StopReason>
{
    public override StopReason Read(ref Utf8JsonReader reader, Type typeToConvert, JsonSerializerOptions options) =>
        throw new NotSupportedException();

    public override void Write(Utf8JsonWriter writer, StopReason value, JsonSerializerOptions options)
    {
        if (value.Text is not null)
        {
            writer.WriteStringValue(value.Text);
        }
        else if (value.Token is { } token)
        {
            writer.WriteNumberValue(token);
        }
        else
        {
            writer.WriteNullValue();
        }
    }
}
