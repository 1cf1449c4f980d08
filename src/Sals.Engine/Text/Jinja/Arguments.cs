namespace Sals.Engine.Text.Jinja;

/// <summary>Arguments of one call, evaluated. Getters complain in the caller's terms.</summary>
internal sealed class Arguments(string callee, IReadOnlyList<JinjaValue> positional, IReadOnlyList<(string Name, JinjaValue Value)> named, int line)
{
    public string Callee => callee;

    public IReadOnlyList<JinjaValue> Positional => positional;

    public IReadOnlyList<(string Name, JinjaValue Value)> Named => named;

    public int Line => line;

    public static Arguments Empty(string callee, int line) => new(callee, [], [], line);

    /// <summary>By position or by name; null when absent.</summary>
    public JinjaValue? Find(int index, string name)
    {
        if (index < positional.Count)
        {
            return positional[index];
        }

        foreach (var (given, value) in named)
        {
            if (given == name)
            {
                return value;
            }
        }

        return null;
    }

    public JinjaValue Required(int index, string name) => Find(index, name) ?? throw Error($"argument '{name}' is missing");

    public JinjaString? String(int index, string name) => Find(index, name) switch
    {
        null or JinjaNone => null,
        JinjaString text => text,
        var other => throw Error($"argument '{name}' should be a string, found {other.TypeName}"),
    };

    public JinjaString RequiredString(int index, string name) => String(index, name) ?? throw Error($"argument '{name}' should be a string");

    public long Int(int index, string name, long otherwise) => Find(index, name) switch
    {
        null or JinjaNone => otherwise,
        JinjaInt number => number.Value,
        JinjaBool flag => flag.Value ? 1 : 0,
        var other => throw Error($"argument '{name}' should be an integer, found {other.TypeName}"),
    };

    public bool Bool(int index, string name, bool otherwise) => Find(index, name)?.IsTrue ?? otherwise;

    /// <summary>The same call without its first positional argument.</summary>
    public Arguments Tail() => new(callee, [.. positional.Skip(1)], named, line);

    public TemplateException Error(string message) => new($"{callee}: {message}", line);
}
