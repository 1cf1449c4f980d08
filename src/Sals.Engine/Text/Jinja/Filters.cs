using System.Globalization;

namespace Sals.Engine.Text.Jinja;

/// <summary>What may follow "|". Filters over lists are in <see cref="ListFilters"/>.</summary>
internal static class Filters
{
    public delegate JinjaValue Filter(Rendering run, JinjaValue value, Arguments arguments);

    public static IReadOnlyDictionary<string, Filter> All { get; } = Build();

    /// <summary>Calls a filter by name.</summary>
    public static JinjaValue Apply(Rendering run, string name, JinjaValue value, Arguments arguments)
    {
        run.ChargeRead(value);
        return All.TryGetValue(name, out var filter) ? filter(run, value, arguments) : throw run.Error($"unknown filter '{name}'");
    }

    private static Dictionary<string, Filter> Build()
    {
        var all = new Dictionary<string, Filter>(StringComparer.Ordinal)
        {
            ["tojson"] = ToJson,
            ["string"] = (run, value, _) => PythonText.Str(run, value),
            ["trim"] = (run, value, arguments) => StringMethods.Strip(PythonText.Str(run, value), arguments.String(0, "chars"), left: true, right: true),
            ["upper"] = (run, value, _) => PythonText.Str(run, value).Map(PythonCase.Upper),
            ["lower"] = (run, value, _) => PythonText.Str(run, value).Map(PythonCase.Lower),
            ["capitalize"] = (run, value, _) => StringMethods.Capitalize(PythonText.Str(run, value)),
            ["title"] = (run, value, _) => StringMethods.Title(PythonText.Str(run, value)),
            ["replace"] = (run, value, arguments) => StringMethods.Replace(
                run, PythonText.Str(run, value), Text(run, arguments, 0, "old"), Text(run, arguments, 1, "new"), arguments.Int(2, "count", -1)),
            ["indent"] = Indent,
            ["safe"] = (run, value, _) => PythonText.Str(run, value),
            ["escape"] = Escape,
            ["e"] = Escape,
            ["default"] = Default,
            ["d"] = Default,
            ["int"] = ToInt,
            ["float"] = ToFloat,
            ["abs"] = (run, value, _) => value is JinjaFloat f ? new JinjaFloat(Math.Abs(f.Value)) : Operators.Unary(run, Integer(run, value) < 0 ? "-" : "+", value),
            ["round"] = Round,
            ["length"] = Length,
            ["count"] = Length,
            ["wordcount"] = (run, value, _) => new JinjaInt(PythonText.Str(run, value).Text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries).Length),
            ["items"] = (run, value, _) => value switch
            {
                JinjaDict dict => Members.Items(run, dict),
                JinjaUndefined => new JinjaList([]),
                _ => throw run.Error($"items: a {value.TypeName} is not a mapping"),
            },
            ["attr"] = (run, value, arguments) => Members.Attribute(run, value, arguments.RequiredString(0, "name").Text),
        };
        ListFilters.AddTo(all);
        return all;
    }

    private static JinjaString Text(Rendering run, Arguments arguments, int index, string name) => PythonText.Str(run, arguments.Required(index, name));

    private static JinjaString ToJson(Rendering run, JinjaValue value, Arguments arguments)
    {
        string? indent = arguments.Find(0, "indent") switch
        {
            null or JinjaNone => null,
            JinjaString text => text.Text,
            var number => new string(' ', (int)Math.Clamp(Integer(run, number), 0, 64)),
        };
        var separators = arguments.Find(1, "separators") is JinjaList { Items: [JinjaString item, JinjaString key] }
            ? (item.Text, key.Text)
            : (indent is null ? ", " : ",", ": ");
        return PythonText.Json(run, value, new JsonStyle(indent, separators.Item1, separators.Item2, arguments.Bool(2, "sort_keys", otherwise: false)));
    }

    /// <summary>Indents every line but the first, and no blank ones, unless told otherwise.</summary>
    private static JinjaString Indent(Rendering run, JinjaValue value, Arguments arguments)
    {
        var prefix = arguments.Find(0, "width") is JinjaString given ? given.Text : new string(' ', (int)Math.Clamp(arguments.Int(0, "width", 4), 0, 256));
        var first = arguments.Bool(1, "first", otherwise: false);
        var blank = arguments.Bool(2, "blank", otherwise: false);
        var text = PythonText.Str(run, value);
        var builder = new JinjaTextBuilder(run);
        for (var start = 0; start <= text.Text.Length;)
        {
            run.Charge();
            var newline = text.Text.IndexOf('\n', start);
            var end = newline < 0 ? text.Text.Length : newline;
            if ((start > 0 || first) && (end > start || blank))
            {
                builder.Append(prefix);
            }

            builder.Append(text.Slice(start, (newline < 0 ? end : end + 1) - start));
            start = newline < 0 ? text.Text.Length + 1 : end + 1;
        }

        return builder.Build();
    }

    private static JinjaString Escape(Rendering run, JinjaValue value, Arguments arguments)
    {
        var builder = new JinjaTextBuilder(run);
        PythonText.Escape(PythonText.Str(run, value), builder, c => c switch
        {
            '&' => "&amp;",
            '<' => "&lt;",
            '>' => "&gt;",
            '\'' => "&#39;",
            '"' => "&#34;",
            _ => null,
        });
        return builder.Build();
    }

    private static JinjaValue Default(Rendering run, JinjaValue value, Arguments arguments) =>
        value is JinjaUndefined || (arguments.Bool(1, "boolean", otherwise: false) && !value.IsTrue)
            ? arguments.Find(0, "default_value") ?? JinjaString.Empty
            : value;

    private static JinjaValue ToInt(Rendering run, JinjaValue value, Arguments arguments)
    {
        var otherwise = arguments.Find(0, "default") ?? new JinjaInt(0);
        switch (value)
        {
            case JinjaFloat { Value: > -9e18 and < 9e18 } number:
                return new JinjaInt((long)number.Value);
            case JinjaString text:
                if (long.TryParse(text.Text.Trim().Replace("_", "", StringComparison.Ordinal), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var parsed))
                {
                    return new JinjaInt(parsed);
                }

                return double.TryParse(text.Text.Trim(), NumberStyles.Float, CultureInfo.InvariantCulture, out var real) && Math.Abs(real) < 9e18
                    ? new JinjaInt((long)real)
                    : otherwise;
            default:
                return Comparison.Integer(value) is { } integer ? new JinjaInt(integer) : otherwise;
        }
    }

    private static JinjaValue ToFloat(Rendering run, JinjaValue value, Arguments arguments)
    {
        if (Comparison.Number(value) is { } number)
        {
            return new JinjaFloat(number);
        }

        return value is JinjaString text && double.TryParse(text.Text.Trim(), NumberStyles.Float, CultureInfo.InvariantCulture, out var parsed)
            ? new JinjaFloat(parsed)
            : arguments.Find(0, "default") ?? new JinjaFloat(0);
    }

    private static JinjaFloat Round(Rendering run, JinjaValue value, Arguments arguments)
    {
        var number = Comparison.Number(value) ?? throw run.Error($"round: a {value.TypeName} is not a number");
        var precision = (int)Math.Clamp(arguments.Int(0, "precision", 0), 0, 15);
        var scale = Math.Pow(10, precision);
        return new JinjaFloat((arguments.String(1, "method")?.Text ?? "common") switch
        {
            "ceil" => Math.Ceiling(number * scale) / scale,
            "floor" => Math.Floor(number * scale) / scale,
            _ => Math.Round(number, precision, MidpointRounding.ToEven),
        });
    }

    private static JinjaInt Length(Rendering run, JinjaValue value, Arguments arguments) => new(value switch
    {
        JinjaString text => Slices.Length(text.Text),
        JinjaList list => list.Items.Count,
        JinjaDict dict => dict.Entries.Count,
        JinjaUndefined => 0,
        _ => throw run.Error($"length: a {value.TypeName} has no length"),
    });

    private static long Integer(Rendering run, JinjaValue value) =>
        Comparison.Integer(value) ?? throw run.Error($"expected an integer, found {value.TypeName}");
}
