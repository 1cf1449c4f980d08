using System.Text.Json.Serialization;

namespace Sals.Server.Api.Wire;

/// <summary>OpenAI's error object.</summary>
public sealed record ErrorBody(ErrorDetail Error)
{
    public static ErrorBody Of(ApiError error) => new(new ErrorDetail(error.Message, error.Type, error.Param, error.Code));
}

public sealed record ErrorDetail(string Message, string Type, string? Param, string? Code);

public sealed record ModelList(IReadOnlyList<ModelCard> Data)
{
    public string Object => "list";
}

/// <param name="Root">The model as given at start; the embedded model's name when none was.</param>
public sealed record ModelCard(string Id, long Created, string Root, int MaxModelLen)
{
    public string Object => "model";

    public string OwnedBy => "sals";

    public string? Parent => null;
}

public sealed record TokenizeResponse(int Count, int MaxModelLen, IReadOnlyList<int> Tokens)
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public IReadOnlyList<string>? TokenStrs { get; init; }
}

public sealed record DetokenizeResponse(string Prompt);

/// <param name="Determinism">What a request's text depends on, in a sentence.</param>
public sealed record VersionResponse(string Version, string Backend, string KvCache, string Determinism);

/// <param name="Status">ok, loading, draining, stalled or failed.</param>
public sealed record HealthResponse(string Status)
{
    [JsonIgnore(Condition = JsonIgnoreCondition.WhenWritingNull)]
    public string? Detail { get; init; }
}
