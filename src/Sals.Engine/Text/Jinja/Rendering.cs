namespace Sals.Engine.Text.Jinja;

/// <summary>
/// One rendering as expressions, filters and functions see it: its line, its clock, and what it has cost against the limits, in steps, depth and text.
/// </summary>
internal sealed class Rendering(TemplateLimits limits, TimeProvider time)
{
    private long _steps;
    private int _depth;

    public DateTimeOffset Now => time.GetLocalNow();

    public TemplateLimits Limits => limits;

    /// <summary>Of the statement or expression at work; errors name it.</summary>
    public int Line { get; set; }

    public TemplateException Error(string message) => new(message, Line);

    public void Charge(long steps = 1)
    {
        _steps += steps;
        if (_steps > limits.Steps)
        {
            throw Error($"more than {limits.Steps} steps");
        }
    }

    /// <summary>Called before text of <paramref name="added"/> characters joins <paramref name="present"/> ones.</summary>
    public void ChargeText(long added, long present = 0)
    {
        if (added + present > limits.OutputLength)
        {
            throw Error($"more than {limits.OutputLength} characters");
        }

        Charge(added / 32);
    }

    /// <summary>Called by what reads a whole value and may give back a small one. Text costs what it would cost to write; other values are charged by element.</summary>
    public void ChargeRead(JinjaValue value)
    {
        if (value is JinjaString text)
        {
            Charge(text.Text.Length / 32);
        }
    }

    public void CheckValueDepth(int depth)
    {
        if (depth > limits.ValueDepth)
        {
            throw Error($"a value is nested deeper than {limits.ValueDepth}");
        }
    }

    public JinjaList List(List<JinjaValue> items)
    {
        Charge(items.Count / 8);
        return items.Count <= limits.ListLength ? new JinjaList(items) : throw Error($"a list of more than {limits.ListLength} elements");
    }

    /// <summary>Elements of a list, characters of a string, keys of a dictionary; nothing for an undefined value.</summary>
    public IReadOnlyList<JinjaValue> Iterate(JinjaValue value)
    {
        switch (value)
        {
            case JinjaList list:
                return list.Items;
            case JinjaDict dict:
                Charge(dict.Entries.Count / 8);
                return [.. dict.Entries.Select(entry => (JinjaValue)dict.Key(entry.Key))];
            case JinjaString text:
                return Slices.Characters(this, text);
            case JinjaUndefined:
                return [];
            default:
                throw Error($"a {value.TypeName} cannot be iterated");
        }
    }

    /// <summary>Begins a statement or an expression; <see cref="Leave"/> ends it.</summary>
    public void Enter(int line)
    {
        Line = line;
        Charge();
        if (++_depth > limits.Depth)
        {
            throw Error($"nested deeper than {limits.Depth} while rendering");
        }
    }

    public void Leave() => _depth--;
}
