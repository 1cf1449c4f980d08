using System.Text.Json;

namespace Sals.Server.Api;

/// <summary>What a response repeats of its request. The elements outlive the request's document.</summary>
public sealed record ResponseEcho
{
    public string? Instructions { get; init; }

    public long? MaxOutputTokens { get; init; }

    public required JsonElement Metadata { get; init; }

    public bool ParallelToolCalls { get; init; } = true;

    public string? Effort { get; init; }

    public required JsonElement Format { get; init; }

    public required JsonElement ToolChoice { get; init; }

    public IReadOnlyList<JsonElement> Tools { get; init; } = [];
}
