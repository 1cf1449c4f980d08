namespace Sals.Engine.Text.Jinja;

/// <summary>A template cannot be read or rendered. The message says the line.</summary>
public sealed class TemplateException : Exception
{
    public TemplateException(string message, int line, bool raisedByTemplate = false)
        : base(raisedByTemplate ? message : line > 0 ? $"chat template, line {line}: {message}" : $"chat template: {message}")
    {
        Line = line;
        RaisedByTemplate = raisedByTemplate;
    }

    /// <summary>1-based; 0 when unknown.</summary>
    public int Line { get; }

    /// <summary>The template itself refused the messages (raise_exception): the caller's fault, and the message is meant for them.</summary>
    public bool RaisedByTemplate { get; }
}
