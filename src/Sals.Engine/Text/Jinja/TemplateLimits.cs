namespace Sals.Engine.Text.Jinja;

/// <summary>Bounds on what a template may cost: it comes with a model and is not trusted.</summary>
public sealed record TemplateLimits
{
    public static TemplateLimits Default { get; } = new();

    /// <summary>Characters of template source.</summary>
    public int SourceLength { get; init; } = 256 * 1024;

    /// <summary>Nesting of tags and expressions in the source.</summary>
    public int SourceDepth { get; init; } = 100;

    /// <summary>Nodes visited in one rendering; text that is built or read whole costs one step per 32 characters.</summary>
    public long Steps { get; init; } = 5_000_000;

    /// <summary>Characters of the rendered prompt, and of any string on the way.</summary>
    public int OutputLength { get; init; } = 16 * 1024 * 1024;

    /// <summary>Nesting of statements, expressions and macro calls while rendering.</summary>
    public int Depth { get; init; } = 600;

    /// <summary>Nesting of lists and dictionaries that are printed or compared.</summary>
    public int ValueDepth { get; init; } = 128;

    /// <summary>Elements of range() and of any list that is built.</summary>
    public int ListLength { get; init; } = 100_000;
}
