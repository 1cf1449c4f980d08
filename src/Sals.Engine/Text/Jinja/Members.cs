namespace Sals.Engine.Text.Jinja;

/// <summary>value.name and value[key]: methods and entries of the built-in types, nothing else.</summary>
internal static class Members
{
    /// <summary>A method or member first, then an entry of that name; undefined when there is neither.</summary>
    public static JinjaValue Attribute(Rendering run, JinjaValue value, string name)
    {
        switch (value)
        {
            case JinjaUndefined undefined:
                throw run.Error($"'{undefined.What}' is undefined: it has no '{name}'");
            case JinjaNamespace names:
                return names.Members.TryGetValue(name, out var member) ? member : new JinjaUndefined(name);
            case JinjaLoop loop:
                return loop.Member(name) ?? new JinjaUndefined(name);
            case JinjaDict dict:
                return DictMethod(dict, name) ?? dict.Find(name) ?? new JinjaUndefined(name);
            case JinjaString text:
                return StringMethods.Find(text, name) ?? (JinjaValue)new JinjaUndefined(name);
            case JinjaList list:
                return ListMethod(list, name) ?? (JinjaValue)new JinjaUndefined(name);
            default:
                return new JinjaUndefined(name);
        }
    }

    /// <summary>An element or entry first, then a member of that name.</summary>
    public static JinjaValue Item(Rendering run, JinjaValue value, JinjaValue key)
    {
        switch (value)
        {
            case JinjaUndefined undefined:
                throw run.Error($"'{undefined.What}' is undefined: it has no '{PythonText.Str(run, key).Text}'");
            case JinjaDict dict when key is JinjaString name:
                return dict.Find(name.Text) ?? DictMethod(dict, name.Text) ?? (JinjaValue)new JinjaUndefined(name.Text);
            case JinjaDict dict:
                return dict.Find(PythonText.Str(run, key).Text) ?? new JinjaUndefined("key");
            case JinjaList list when Comparison.Integer(key) is { } index:
                index = index < 0 ? index + list.Items.Count : index;
                return index >= 0 && index < list.Items.Count ? list.Items[(int)index] : new JinjaUndefined($"[{index}]");
            case JinjaString text when Comparison.Integer(key) is { } index:
                return Slices.At(run, text, index) ?? (JinjaValue)new JinjaUndefined($"[{index}]");
            default:
                return key is JinjaString member ? Attribute(run, value, member.Text) : new JinjaUndefined("item");
        }
    }

    private static JinjaFunction? DictMethod(JinjaDict dict, string name) => name switch
    {
        "items" => new JinjaFunction(name, (run, _) => Items(run, dict)),
        "keys" => new JinjaFunction(name, (run, _) => new JinjaList(run.Iterate(dict))),
        "values" => new JinjaFunction(name, (run, _) => run.List([.. dict.Entries.Select(entry => entry.Value)])),
        "get" => new JinjaFunction(name, (run, arguments) =>
            dict.Find(PythonText.Str(run, arguments.Required(0, "key")).Text) ?? arguments.Find(1, "default") ?? JinjaValue.None),
        "copy" => new JinjaFunction(name, (_, _) => dict),
        _ => null,
    };

    /// <summary>(key, value) pairs.</summary>
    public static JinjaList Items(Rendering run, JinjaDict dict) =>
        run.List([.. dict.Entries.Select(entry => new JinjaList([dict.Key(entry.Key), entry.Value], isTuple: true))]);

    private static JinjaFunction? ListMethod(JinjaList list, string name) => name switch
    {
        "index" => new JinjaFunction(name, (run, arguments) =>
        {
            var wanted = arguments.Required(0, "value");
            for (var i = 0; i < list.Items.Count; i++)
            {
                if (Comparison.AreEqual(run, list.Items[i], wanted))
                {
                    return new JinjaInt(i);
                }
            }

            throw arguments.Error("the value is not in the list");
        }),
        "count" => new JinjaFunction(name, (run, arguments) =>
            new JinjaInt(list.Items.Count(item => Comparison.AreEqual(run, item, arguments.Required(0, "value"))))),
        "copy" => new JinjaFunction(name, (_, _) => list),
        "append" or "extend" or "insert" or "pop" or "remove" or "reverse" or "sort" or "clear" =>
            new JinjaFunction(name, (_, arguments) => throw arguments.Error("lists cannot be changed in a template")),
        _ => null,
    };
}
