using System.Text.Json;
using Sals.Engine.Text;

namespace Sals.Server.Api;

/// <summary>A call in an older answer.</summary>
/// <param name="Arguments">As the model wrote them: usually, but not always, a JSON object.</param>
public sealed record ChatToolCall(string? Id, string Name, string Arguments);

/// <summary>A message of a chat request: role, plain text and what belongs to its role.</summary>
public sealed record ChatTurn(string Role, string Content)
{
    public string? Name { get; init; }

    /// <summary>Of an assistant's message.</summary>
    public IReadOnlyList<ChatToolCall> ToolCalls { get; init; } = [];

    /// <summary>Of an assistant's message: the reasoning before it.</summary>
    public string? Reasoning { get; init; }

    /// <summary>Of a tool's message: the call that it answers.</summary>
    public string? ToolCallId { get; init; }

    /// <summary>UTF-16 code units.</summary>
    public long Length => Content.Length + (Reasoning?.Length ?? 0L) + ToolCalls.Sum(call => (long)call.Name.Length + call.Arguments.Length);
}

/// <summary>What a chat template is given.</summary>
public sealed record ChatPrompt(IReadOnlyList<ChatTurn> Turns)
{
    /// <summary>End with the beginning of the assistant's turn.</summary>
    public bool AddGenerationPrompt { get; init; } = true;

    /// <summary>End inside the last message, which the answer continues.</summary>
    public bool ContinueFinalMessage { get; init; }

    /// <summary>Whitelisted scalars (chat_template_kwargs): bool, long, double or string.</summary>
    public IReadOnlyDictionary<string, object> Arguments { get; init; } = new Dictionary<string, object>();

    /// <summary>Definitions of the tools, {type, function}; valid as long as the request's document.</summary>
    public IReadOnlyList<JsonElement> Tools { get; init; } = [];
}

/// <summary>Renders a chat with the model's template.</summary>
/// <exception cref="ApiException">The template refuses the messages (raise_exception) or needs more work than is allowed.</exception>
public delegate RenderedPrompt ChatRenderer(ChatPrompt prompt);
