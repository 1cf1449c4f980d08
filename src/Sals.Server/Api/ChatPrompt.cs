using Sals.Engine.Text;

namespace Sals.Server.Api;

/// <summary>A message of a chat request: role and plain text.</summary>
public sealed record ChatTurn(string Role, string Content)
{
    public string? Name { get; init; }
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
}

/// <summary>Renders a chat with the model's template.</summary>
/// <exception cref="ApiException">The template refuses the messages (raise_exception) or needs more work than is allowed.</exception>
public delegate RenderedPrompt ChatRenderer(ChatPrompt prompt);
