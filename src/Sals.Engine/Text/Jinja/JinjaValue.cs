using System.Text.Json;
using System.Text.Json.Nodes;

namespace Sals.Engine.Text.Jinja;

/// <summary>A value of the template language. Immutable, except namespaces, which never leave a rendering.</summary>
public abstract class JinjaValue
{
    public static JinjaValue None { get; } = new JinjaNone();

    public static JinjaValue True { get; } = new JinjaBool(true);

    public static JinjaValue False { get; } = new JinjaBool(false);

    /// <summary>Python's name of the type, for messages.</summary>
    public abstract string TypeName { get; }

    public virtual bool IsTrue => true;

    public static JinjaValue Of(bool value) => value ? True : False;

    /// <summary>A value sent by a client: all its strings are plain text in the prompt.</summary>
    /// <exception cref="TemplateException">Nested deeper than 64.</exception>
    public static JinjaValue FromJson(JsonElement json) => FromJson(json, 0);

    /// <summary>As <see cref="FromJson(JsonElement)"/>; null is None.</summary>
    public static JinjaValue FromJson(JsonNode? json)
    {
        if (json is null)
        {
            return None;
        }

        using var document = JsonDocument.Parse(json.ToJsonString());
        return FromJson(document.RootElement, 0);
    }

    private static JinjaValue FromJson(JsonElement json, int depth)
    {
        if (depth > 64)
        {
            throw new TemplateException("a message or tool is nested deeper than 64", 0);
        }

        switch (json.ValueKind)
        {
            case JsonValueKind.True:
                return True;
            case JsonValueKind.False:
                return False;
            case JsonValueKind.String:
                return new JinjaString(json.GetString()!, plain: true);
            case JsonValueKind.Number:
                return Number(json);
            case JsonValueKind.Array:
                return new JinjaList([.. json.EnumerateArray().Select(item => FromJson(item, depth + 1))]);
            case JsonValueKind.Object:
                var entries = new JinjaDict.Builder(plainKeys: true);
                foreach (var member in json.EnumerateObject())
                {
                    entries.Set(member.Name, FromJson(member.Value, depth + 1));
                }

                return entries.Build();
            default:
                return None;
        }
    }

    private static JinjaValue Number(JsonElement json)
    {
        var raw = json.GetRawText();
        if (raw.AsSpan().IndexOfAny('.', 'e', 'E') >= 0)
        {
            return new JinjaFloat(json.GetDouble());
        }

        return json.TryGetInt64(out var value) ? new JinjaInt(value) : new JinjaBigInt(raw);
    }
}

/// <summary>A name or member that does not exist: prints nothing, is false, and has no members.</summary>
public sealed class JinjaUndefined(string what) : JinjaValue
{
    /// <summary>What was looked up.</summary>
    public string What => what;

    public override string TypeName => "Undefined";

    public override bool IsTrue => false;
}

public sealed class JinjaNone : JinjaValue
{
    public override string TypeName => "NoneType";

    public override bool IsTrue => false;
}

public sealed class JinjaBool(bool value) : JinjaValue
{
    public bool Value => value;

    public override string TypeName => "bool";

    public override bool IsTrue => value;
}

public sealed class JinjaInt(long value) : JinjaValue
{
    public long Value => value;

    public override string TypeName => "int";

    public override bool IsTrue => value != 0;
}

/// <summary>A JSON integer beyond 64 bits: printed as it was written, without arithmetic.</summary>
public sealed class JinjaBigInt(string digits) : JinjaValue
{
    public string Digits => digits;

    public override string TypeName => "int";
}

public sealed class JinjaFloat(double value) : JinjaValue
{
    public double Value => value;

    public override string TypeName => "float";

    public override bool IsTrue => value != 0;
}

public sealed class JinjaList(IReadOnlyList<JinjaValue> items, bool isTuple = false) : JinjaValue
{
    public IReadOnlyList<JinjaValue> Items => items;

    public bool IsTuple => isTuple;

    public override string TypeName => isTuple ? "tuple" : "list";

    public override bool IsTrue => items.Count > 0;
}

/// <summary>Mutable members by name; lives in one rendering.</summary>
internal sealed class JinjaNamespace : JinjaValue
{
    public Dictionary<string, JinjaValue> Members { get; } = new(StringComparer.Ordinal);

    public override string TypeName => "Namespace";
}

/// <summary>A macro, a method bound to its object, or a global function.</summary>
internal sealed class JinjaFunction(string name, Func<Rendering, Arguments, JinjaValue> call) : JinjaValue
{
    public string Name => name;

    public Func<Rendering, Arguments, JinjaValue> Call => call;

    public override string TypeName => "function";
}

/// <summary>Ordered entries with string keys; other keys are looked up by their text.</summary>
public sealed class JinjaDict : JinjaValue
{
    private readonly Dictionary<string, int> _index;
    private readonly List<KeyValuePair<string, JinjaValue>> _entries;
    private readonly bool _plainKeys;

    private JinjaDict(Dictionary<string, int> index, List<KeyValuePair<string, JinjaValue>> entries, bool plainKeys)
    {
        _index = index;
        _entries = entries;
        _plainKeys = plainKeys;
    }

    public IReadOnlyList<KeyValuePair<string, JinjaValue>> Entries => _entries;

    public override string TypeName => "dict";

    public override bool IsTrue => _entries.Count > 0;

    public JinjaValue? Find(string key) => _index.TryGetValue(key, out var at) ? _entries[at].Value : null;

    /// <summary>A key as a value: as trusted as the one who wrote the dictionary.</summary>
    internal JinjaString Key(string key) => new(key, _plainKeys);

    /// <summary>Collects entries in order; a repeated key keeps its place and takes the last value.</summary>
    public sealed class Builder(bool plainKeys)
    {
        private readonly Dictionary<string, int> _index = new(StringComparer.Ordinal);
        private readonly List<KeyValuePair<string, JinjaValue>> _entries = [];

        public void Set(string key, JinjaValue value)
        {
            if (_index.TryGetValue(key, out var at))
            {
                _entries[at] = new(key, value);
                return;
            }

            _index.Add(key, _entries.Count);
            _entries.Add(new(key, value));
        }

        public JinjaDict Build() => new(_index, _entries, plainKeys);
    }
}
