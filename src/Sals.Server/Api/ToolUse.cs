using System.Text.Json;
using Sals.Engine.Grammar;

namespace Sals.Server.Api;

public enum ToolChoice
{
    /// <summary>No calls: the model is not shown the tools.</summary>
    None,

    /// <summary>The model decides.</summary>
    Auto,

    /// <summary>The answer is calls of the callable tools, at least one.</summary>
    Required,
}

/// <summary>The tools of a request and what may be done with them.</summary>
public sealed record ToolUse
{
    public static readonly ToolUse None = new();

    public ToolChoice Choice { get; init; }

    /// <summary>Definitions as the chat template gets them, {type, function}.</summary>
    public IReadOnlyList<JsonElement> Shown { get; init; } = [];

    /// <summary>Those that the answer may call.</summary>
    public IReadOnlyList<ToolSignature> Callable { get; init; } = [];

    /// <summary>More than one call in an answer (parallel_tool_calls).</summary>
    public bool Several { get; init; } = true;
}
