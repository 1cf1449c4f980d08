using System.Globalization;

namespace Sals.Engine.Text.Jinja;

/// <summary>Values as text, the way Python prints them and the way Hugging Face's tojson does.</summary>
internal static class PythonText
{
    /// <summary>str(value)</summary>
    public static JinjaString Str(Rendering run, JinjaValue value)
    {
        switch (value)
        {
            case JinjaString text:
                return text;
            case JinjaUndefined:
                return JinjaString.Empty;
            case JinjaInt number:
                return new JinjaString(number.Value.ToString(CultureInfo.InvariantCulture), plain: false);
            default:
                var builder = new JinjaTextBuilder(run);
                Repr(run, value, builder, 0);
                return builder.Build();
        }
    }

    /// <summary>json.dumps(value, ensure_ascii=False, indent=.., separators=.., sort_keys=..)</summary>
    public static JinjaString Json(Rendering run, JinjaValue value, JsonStyle style)
    {
        var builder = new JinjaTextBuilder(run);
        Json(run, value, style, builder, 0);
        return builder.Build();
    }

    /// <summary>Python's shortest form that reads back as the same number.</summary>
    public static string Float(double value)
    {
        if (!double.IsFinite(value))
        {
            return double.IsNaN(value) ? "nan" : value > 0 ? "inf" : "-inf";
        }

        var shortest = value.ToString("E16", CultureInfo.InvariantCulture);
        var magnitude = value == 0 ? 0 : int.Parse(shortest.AsSpan(shortest.IndexOf('E', StringComparison.Ordinal) + 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
        var text = value.ToString("R", CultureInfo.InvariantCulture);
        if (magnitude is >= 16 or < -4)
        {
            if (!text.Contains('E', StringComparison.Ordinal))
            {
                text = Scientific(text, magnitude);
            }

            var at = text.IndexOf('E', StringComparison.Ordinal);
            var exponent = int.Parse(text.AsSpan(at + 1), NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture);
            return $"{text[..at]}e{(exponent < 0 ? '-' : '+')}{Math.Abs(exponent):00}";
        }

        if (text.Contains('E', StringComparison.Ordinal))
        {
            text = value.ToString("F20", CultureInfo.InvariantCulture).TrimEnd('0');
        }

        return text.Contains('.', StringComparison.Ordinal) ? text : text + ".0";
    }

    private static string Scientific(string text, int magnitude)
    {
        var negative = text.StartsWith('-');
        var digits = text.Replace(".", "", StringComparison.Ordinal).TrimStart('-', '0').TrimEnd('0');
        return $"{(negative ? "-" : "")}{digits[0]}{(digits.Length > 1 ? "." + digits[1..] : "")}E{magnitude}";
    }

    private static void Repr(Rendering run, JinjaValue value, JinjaTextBuilder builder, int depth)
    {
        run.CheckValueDepth(depth);
        run.Charge();
        switch (value)
        {
            case JinjaString text:
                ReprString(text, builder);
                break;
            case JinjaList list:
                builder.Append(list.IsTuple ? "(" : "[");
                for (var i = 0; i < list.Items.Count; i++)
                {
                    builder.Append(i > 0 ? ", " : "");
                    Repr(run, list.Items[i], builder, depth + 1);
                }

                builder.Append(list.IsTuple ? list.Items.Count == 1 ? ",)" : ")" : "]");
                break;
            case JinjaDict dict:
                builder.Append("{");
                var first = true;
                foreach (var (key, item) in dict.Entries)
                {
                    builder.Append(first ? "" : ", ");
                    first = false;
                    ReprString(dict.Key(key), builder);
                    builder.Append(": ");
                    Repr(run, item, builder, depth + 1);
                }

                builder.Append("}");
                break;
            default:
                builder.Append(Scalar(value));
                break;
        }
    }

    private static string Scalar(JinjaValue value) => value switch
    {
        JinjaUndefined => "Undefined",
        JinjaNone => "None",
        JinjaBool flag => flag.Value ? "True" : "False",
        JinjaInt number => number.Value.ToString(CultureInfo.InvariantCulture),
        JinjaBigInt number => number.Digits,
        JinjaFloat number => Float(number.Value),
        JinjaNamespace => "<Namespace>",
        JinjaFunction function => $"<function {function.Name}>",
        _ => value.TypeName,
    };

    private static void ReprString(JinjaString text, JinjaTextBuilder builder)
    {
        var quote = text.Text.Contains('\'', StringComparison.Ordinal) && !text.Text.Contains('"', StringComparison.Ordinal) ? '"' : '\'';
        builder.Append(quote.ToString());
        Escape(text, builder, c => c == quote ? "\\" + quote : c switch
        {
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            < ' ' or '\u007F' => $"\\x{(int)c:x2}",
            _ => null,
        });
        builder.Append(quote.ToString());
    }

    private static void Json(Rendering run, JinjaValue value, JsonStyle style, JinjaTextBuilder builder, int depth)
    {
        run.CheckValueDepth(depth);
        run.Charge();
        switch (value)
        {
            case JinjaString text:
                JsonString(text, builder);
                break;
            case JinjaList { Items.Count: 0 }:
                builder.Append("[]");
                break;
            case JinjaDict { Entries.Count: 0 }:
                builder.Append("{}");
                break;
            case JinjaList list:
                builder.Append("[");
                for (var i = 0; i < list.Items.Count; i++)
                {
                    style.Separate(builder, i == 0, depth + 1);
                    Json(run, list.Items[i], style, builder, depth + 1);
                }

                style.Close(builder, depth);
                builder.Append("]");
                break;
            case JinjaDict dict:
                builder.Append("{");
                var first = true;
                foreach (var (key, item) in style.SortKeys ? dict.Entries.OrderBy(entry => entry.Key, StringComparer.Ordinal) : dict.Entries.AsEnumerable())
                {
                    style.Separate(builder, first, depth + 1);
                    first = false;
                    JsonString(dict.Key(key), builder);
                    builder.Append(style.KeySeparator);
                    Json(run, item, style, builder, depth + 1);
                }

                style.Close(builder, depth);
                builder.Append("}");
                break;
            case JinjaNone:
                builder.Append("null");
                break;
            case JinjaBool flag:
                builder.Append(flag.Value ? "true" : "false");
                break;
            case JinjaFloat number when !double.IsFinite(number.Value):
                builder.Append(double.IsNaN(number.Value) ? "NaN" : number.Value > 0 ? "Infinity" : "-Infinity");
                break;
            case JinjaInt or JinjaBigInt or JinjaFloat:
                builder.Append(Scalar(value));
                break;
            default:
                throw run.Error($"tojson: {(value is JinjaUndefined u ? $"'{u.What}' is undefined" : $"a {value.TypeName} is not JSON")}");
        }
    }

    private static void JsonString(JinjaString text, JinjaTextBuilder builder)
    {
        builder.Append("\"");
        Escape(text, builder, c => c switch
        {
            '"' => "\\\"",
            '\\' => "\\\\",
            '\n' => "\\n",
            '\r' => "\\r",
            '\t' => "\\t",
            '\b' => "\\b",
            '\f' => "\\f",
            < ' ' => $"\\u{(int)c:x4}",
            _ => null,
        });
        builder.Append("\"");
    }

    /// <summary>Replaces single characters; a replacement is as trusted as what it replaces.</summary>
    public static void Escape(JinjaString text, JinjaTextBuilder builder, Func<char, string?> replacement)
    {
        var done = 0;
        for (var i = 0; i < text.Text.Length; i++)
        {
            if (replacement(text.Text[i]) is { } escaped)
            {
                builder.Append(text.Slice(done, i - done));
                builder.Append(escaped, text.Slice(i, 1).Plain.Count > 0);
                done = i + 1;
            }
        }

        builder.Append(text.Slice(done, text.Text.Length - done));
    }
}

/// <summary>Layout of tojson.</summary>
/// <param name="Indent">What one level is indented by; null = one line.</param>
internal sealed record JsonStyle(string? Indent, string ItemSeparator, string KeySeparator, bool SortKeys)
{
    public void Separate(JinjaTextBuilder builder, bool first, int depth)
    {
        builder.Append(first ? "" : ItemSeparator);
        NewLine(builder, depth);
    }

    public void Close(JinjaTextBuilder builder, int depth) => NewLine(builder, depth);

    private void NewLine(JinjaTextBuilder builder, int depth)
    {
        if (Indent is null)
        {
            return;
        }

        builder.Append("\n");
        for (var i = 0; i < depth; i++)
        {
            builder.Append(Indent);
        }
    }
}
