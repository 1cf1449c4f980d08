using System.Text.Json;

namespace Sals.Engine.Grammar;

/// <summary>A function that a model may call.</summary>
/// <param name="Parameters">Schema of its arguments; null = none are taken.</param>
/// <param name="Path">Where the schema stands in the request, for messages.</param>
public sealed record ToolSignature(string Name, JsonElement? Parameters, string Path);
