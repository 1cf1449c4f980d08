using System.Globalization;

namespace Sals.Engine.Text.Jinja;

/// <summary>Python's string methods. Results keep which characters came from a client.</summary>
internal static class StringMethods
{
    private delegate JinjaValue Method(Rendering run, JinjaString text, Arguments arguments);

    private static readonly Dictionary<string, Method> All = new(StringComparer.Ordinal)
    {
        ["upper"] = (_, text, _) => text.Map(PythonCase.Upper),
        ["lower"] = (_, text, _) => text.Map(PythonCase.Lower),
        ["casefold"] = (_, text, _) => text.Map(PythonCase.Lower),
        ["capitalize"] = (_, text, _) => Capitalize(text),
        ["title"] = (_, text, _) => Title(text),
        ["swapcase"] = (_, text, _) => text.Map(s => string.Concat(s.Select(c => char.IsUpper(c) ? char.ToLowerInvariant(c) : char.ToUpperInvariant(c)))),
        ["strip"] = (_, text, arguments) => Strip(text, arguments.String(0, "chars"), left: true, right: true),
        ["lstrip"] = (_, text, arguments) => Strip(text, arguments.String(0, "chars"), left: true, right: false),
        ["rstrip"] = (_, text, arguments) => Strip(text, arguments.String(0, "chars"), left: false, right: true),
        ["removeprefix"] = (_, text, arguments) => arguments.RequiredString(0, "prefix").Text is var prefix && text.Text.StartsWith(prefix, StringComparison.Ordinal)
            ? text.Slice(prefix.Length, text.Text.Length - prefix.Length)
            : text,
        ["removesuffix"] = (_, text, arguments) => arguments.RequiredString(0, "suffix").Text is var suffix && text.Text.EndsWith(suffix, StringComparison.Ordinal)
            ? text.Slice(0, text.Text.Length - suffix.Length)
            : text,
        ["startswith"] = (run, text, arguments) => JinjaValue.Of(Affix(run, arguments, affix => text.Text.StartsWith(affix, StringComparison.Ordinal))),
        ["endswith"] = (run, text, arguments) => JinjaValue.Of(Affix(run, arguments, affix => text.Text.EndsWith(affix, StringComparison.Ordinal))),
        ["find"] = (_, text, arguments) => new JinjaInt(Find(text, arguments, last: false)),
        ["rfind"] = (_, text, arguments) => new JinjaInt(Find(text, arguments, last: true)),
        ["index"] = (_, text, arguments) => Find(text, arguments, last: false) is >= 0 and var at ? new JinjaInt(at) : throw arguments.Error("substring not found"),
        ["count"] = (run, text, arguments) => new JinjaInt(Count(run, text.Text, arguments.RequiredString(0, "sub").Text)),
        ["replace"] = (run, text, arguments) =>
            Replace(run, text, arguments.RequiredString(0, "old"), arguments.RequiredString(1, "new"), arguments.Int(2, "count", -1)),
        ["split"] = (run, text, arguments) => run.List(Split(run, text, arguments.String(0, "sep"), arguments.Int(1, "maxsplit", -1), fromRight: false)),
        ["rsplit"] = (run, text, arguments) => run.List(Split(run, text, arguments.String(0, "sep"), arguments.Int(1, "maxsplit", -1), fromRight: true)),
        ["splitlines"] = (run, text, _) => run.List(SplitLines(run, text)),
        ["partition"] = (_, text, arguments) => Partition(text, arguments.RequiredString(0, "sep"), last: false),
        ["rpartition"] = (_, text, arguments) => Partition(text, arguments.RequiredString(0, "sep"), last: true),
        ["join"] = (run, text, arguments) => Join(run, text, run.Iterate(arguments.Required(0, "iterable"))),
        ["zfill"] = (run, text, arguments) => Pad(run, text, arguments.Int(0, "width", 0), "0", left: true),
        ["ljust"] = (run, text, arguments) => Pad(run, text, arguments.Int(0, "width", 0), arguments.String(1, "fillchar")?.Text ?? " ", left: false),
        ["rjust"] = (run, text, arguments) => Pad(run, text, arguments.Int(0, "width", 0), arguments.String(1, "fillchar")?.Text ?? " ", left: true),
        ["isdigit"] = (_, text, _) => Every(text, char.IsDigit),
        ["isnumeric"] = (_, text, _) => Every(text, char.IsNumber),
        ["isdecimal"] = (_, text, _) => Every(text, c => char.GetUnicodeCategory(c) == UnicodeCategory.DecimalDigitNumber),
        ["isalpha"] = (_, text, _) => Every(text, char.IsLetter),
        ["isalnum"] = (_, text, _) => Every(text, char.IsLetterOrDigit),
        ["isspace"] = (_, text, _) => Every(text, IsSpace),
        ["isupper"] = (_, text, _) => JinjaValue.Of(text.Text.Any(char.IsUpper) && !text.Text.Any(char.IsLower)),
        ["islower"] = (_, text, _) => JinjaValue.Of(text.Text.Any(char.IsLower) && !text.Text.Any(char.IsUpper)),
    };

    public static JinjaFunction? Find(JinjaString text, string name) => All.TryGetValue(name, out var method)
        ? new JinjaFunction(name, (run, arguments) =>
        {
            run.ChargeText(text.Text.Length);
            return method(run, text, arguments);
        })
        : null;

    /// <summary>White space in Python's sense.</summary>
    public static bool IsSpace(char c) => char.IsWhiteSpace(c) || c is >= '\u001C' and <= '\u001F';

    public static JinjaString Strip(JinjaString text, JinjaString? chars, bool left, bool right)
    {
        bool Strips(char c) => chars is null ? IsSpace(c) : chars.Text.Contains(c, StringComparison.Ordinal);
        var start = 0;
        var end = text.Text.Length;
        while (left && start < end && Strips(text.Text[start]))
        {
            start++;
        }

        while (right && end > start && Strips(text.Text[end - 1]))
        {
            end--;
        }

        return text.Slice(start, end - start);
    }

    public static JinjaString Capitalize(JinjaString text) =>
        text.Map(s => s.Length == 0 ? s : char.ToUpperInvariant(s[0]) + s[1..].ToLowerInvariant());

    public static JinjaString Title(JinjaString text) => text.Map(s =>
    {
        var titled = s.ToCharArray();
        var inWord = false;
        for (var i = 0; i < titled.Length; i++)
        {
            titled[i] = inWord ? char.ToLowerInvariant(titled[i]) : char.ToUpperInvariant(titled[i]);
            inWord = char.IsLetter(titled[i]);
        }

        return new string(titled);
    });

    public static JinjaString Join(Rendering run, JinjaString separator, IReadOnlyList<JinjaValue> items)
    {
        var builder = new JinjaTextBuilder(run);
        for (var i = 0; i < items.Count; i++)
        {
            run.Charge();
            if (i > 0)
            {
                builder.Append(separator);
            }

            builder.Append(PythonText.Str(run, items[i]));
        }

        return builder.Build();
    }

    public static JinjaString Replace(Rendering run, JinjaString text, JinjaString old, JinjaString replacement, long count)
    {
        var builder = new JinjaTextBuilder(run);
        var done = 0;
        var at = 0;
        while (count != 0 && at <= text.Text.Length)
        {
            var found = text.Text.IndexOf(old.Text, at, StringComparison.Ordinal);
            if (found < 0)
            {
                break;
            }

            run.Charge();
            builder.Append(text.Slice(done, found - done));
            builder.Append(replacement);
            done = found + old.Text.Length;
            at = old.Text.Length == 0 ? found + 1 : done;
            count--;
        }

        builder.Append(text.Slice(done, text.Text.Length - done));
        return builder.Build();
    }

    private static List<JinjaValue> Split(Rendering run, JinjaString text, JinjaString? separator, long limit, bool fromRight)
    {
        var parts = new List<JinjaValue>();
        var edges = separator is null ? Words(text.Text) : Separated(text.Text, separator.Text, run, fromRight);
        if (limit >= 0 && edges.Count > limit + 1)
        {
            // the rest stays one part: the last one, or the first one when splitting from the right
            var keep = (int)limit;
            if (fromRight)
            {
                var (_, end) = edges[^(keep + 1)];
                var start = separator is null ? edges[0].Start : 0;
                edges = [(start, end), .. edges[^keep..]];
            }
            else
            {
                edges = [.. edges[..keep], (edges[keep].Start, text.Text.Length)];
            }
        }

        foreach (var (start, end) in edges)
        {
            run.Charge();
            parts.Add(text.Slice(start, end - start));
        }

        return parts;
    }

    private static List<(int Start, int End)> Words(string text)
    {
        var words = new List<(int, int)>();
        for (var i = 0; i < text.Length;)
        {
            if (IsSpace(text[i]))
            {
                i++;
                continue;
            }

            var start = i;
            while (i < text.Length && !IsSpace(text[i]))
            {
                i++;
            }

            words.Add((start, i));
        }

        return words;
    }

    private static List<(int Start, int End)> Separated(string text, string separator, Rendering run, bool fromRight)
    {
        if (separator.Length == 0)
        {
            throw run.Error("split: the separator is empty");
        }

        var parts = new List<(int Start, int End)>();
        if (fromRight)
        {
            var end = text.Length;
            while (end >= separator.Length)
            {
                var found = text.LastIndexOf(separator, end - 1, StringComparison.Ordinal);
                if (found < 0)
                {
                    break;
                }

                parts.Add((found + separator.Length, end));
                end = found;
            }

            parts.Add((0, end));
            parts.Reverse();
            return parts;
        }

        var start = 0;
        for (var found = text.IndexOf(separator, StringComparison.Ordinal); found >= 0; found = text.IndexOf(separator, start, StringComparison.Ordinal))
        {
            parts.Add((start, found));
            start = found + separator.Length;
        }

        parts.Add((start, text.Length));
        return parts;
    }

    private static List<JinjaValue> SplitLines(Rendering run, JinjaString text)
    {
        var lines = new List<JinjaValue>();
        var start = 0;
        for (var i = 0; i < text.Text.Length; i++)
        {
            var c = text.Text[i];
            if (c is '\n' or '\r' or '\v' or '\f' or (>= '\u001C' and <= '\u001E') or '\u0085' or '\u2028' or '\u2029')
            {
                run.Charge();
                lines.Add(text.Slice(start, i - start));
                i += c == '\r' && i + 1 < text.Text.Length && text.Text[i + 1] == '\n' ? 1 : 0;
                start = i + 1;
            }
        }

        if (start < text.Text.Length)
        {
            lines.Add(text.Slice(start, text.Text.Length - start));
        }

        return lines;
    }

    private static JinjaList Partition(JinjaString text, JinjaString separator, bool last)
    {
        var found = last ? text.Text.LastIndexOf(separator.Text, StringComparison.Ordinal) : text.Text.IndexOf(separator.Text, StringComparison.Ordinal);
        if (found < 0)
        {
            return new JinjaList(last ? [JinjaString.Empty, JinjaString.Empty, text] : [text, JinjaString.Empty, JinjaString.Empty], isTuple: true);
        }

        var after = found + separator.Text.Length;
        return new JinjaList([text.Slice(0, found), text.Slice(found, separator.Text.Length), text.Slice(after, text.Text.Length - after)], isTuple: true);
    }

    private static JinjaString Pad(Rendering run, JinjaString text, long width, string fill, bool left)
    {
        var missing = width - Slices.Length(text.Text);
        if (missing <= 0 || fill.Length != 1)
        {
            return text;
        }

        run.ChargeText(missing);
        var builder = new JinjaTextBuilder(run);
        var padding = new string(fill[0], (int)missing);
        if (left)
        {
            builder.Append(padding);
        }

        builder.Append(text);
        if (!left)
        {
            builder.Append(padding);
        }

        return builder.Build();
    }

    private static bool Affix(Rendering run, Arguments arguments, Func<string, bool> fits)
    {
        var given = arguments.Required(0, "affix");
        return given is JinjaList { IsTuple: true } several
            ? several.Items.Any(item => item is JinjaString one && fits(one.Text))
            : fits(given is JinjaString affix ? affix.Text : throw run.Error($"{arguments.Callee} needs a string, found {given.TypeName}"));
    }

    private static long Find(JinjaString text, Arguments arguments, bool last)
    {
        var part = arguments.RequiredString(0, "sub").Text;
        var start = (int)Math.Clamp(arguments.Int(1, "start", 0), 0, text.Text.Length);
        var at = last ? text.Text.LastIndexOf(part, StringComparison.Ordinal) : text.Text.IndexOf(part, start, StringComparison.Ordinal);
        return at < start ? -1 : Slices.Length(text.Text[..at]);
    }

    private static long Count(Rendering run, string text, string part)
    {
        if (part.Length == 0)
        {
            return Slices.Length(text) + 1;
        }

        var count = 0;
        for (var at = text.IndexOf(part, StringComparison.Ordinal); at >= 0; at = text.IndexOf(part, at + part.Length, StringComparison.Ordinal))
        {
            run.Charge();
            count++;
        }

        return count;
    }

    private static JinjaValue Every(JinjaString text, Func<char, bool> holds) => JinjaValue.Of(text.Text.Length > 0 && text.Text.All(holds));
}
