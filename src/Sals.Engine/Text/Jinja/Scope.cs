namespace Sals.Engine.Text.Jinja;

/// <summary>Variables of one block; what is not here is looked up outside.</summary>
internal sealed class Scope(Scope? outer)
{
    private readonly Dictionary<string, JinjaValue> _variables = new(StringComparer.Ordinal);

    public void Set(string name, JinjaValue value) => _variables[name] = value;

    public JinjaValue? Find(string name)
    {
        for (var scope = this; scope is not null; scope = scope.Outer)
        {
            if (scope._variables.TryGetValue(name, out var value))
            {
                return value;
            }
        }

        return null;
    }

    private Scope? Outer => outer;
}
