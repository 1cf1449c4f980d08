namespace Sals.Engine.Grammar;

/// <summary>A schema, regular expression or list of choices that cannot be compiled, or is too large for the limits.</summary>
public sealed class GrammarException : Exception
{
    /// <param name="path">Where in the source: a path of schema keywords (<c>.properties.a.pattern</c>), or empty.</param>
    public GrammarException(string path, string message)
        : base(message) => Path = path;

    /// <summary>Appended to the name of the field that brought the grammar.</summary>
    public string Path { get; }
}
