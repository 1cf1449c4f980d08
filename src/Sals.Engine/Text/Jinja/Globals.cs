using System.Globalization;
using System.Text;

namespace Sals.Engine.Text.Jinja;

/// <summary>Functions every template may call.</summary>
internal static class Globals
{
    private const int MaxFormat = 256;

    public static void Define(Scope scope)
    {
        Function(scope, "range", Range);
        Function(scope, "namespace", Namespace);
        Function(scope, "dict", Dict);
        Function(scope, "raise_exception", (_, arguments) =>
            throw new TemplateException(arguments.String(0, "message")?.Text ?? "the template refused the messages", arguments.Line, raisedByTemplate: true));
        Function(scope, "strftime_now", (run, arguments) => new JinjaString(Format(run.Now, arguments.RequiredString(0, "format").Text, arguments), plain: false));
    }

    private static void Function(Scope scope, string name, Func<Rendering, Arguments, JinjaValue> call) =>
        scope.Set(name, new JinjaFunction(name, call));

    private static JinjaList Range(Rendering run, Arguments arguments)
    {
        var only = arguments.Positional.Count == 1;
        var start = only ? 0 : arguments.Int(0, "start", 0);
        var stop = arguments.Int(only ? 0 : 1, "stop", 0);
        var step = arguments.Int(2, "step", 1);
        if (step == 0)
        {
            throw arguments.Error("a step of 0");
        }

        var numbers = new List<JinjaValue>();
        for (var i = start; step > 0 ? i < stop : i > stop; i += step)
        {
            run.Charge();
            numbers.Add(new JinjaInt(i));
            if (numbers.Count > run.Limits.ListLength)
            {
                throw arguments.Error($"more than {run.Limits.ListLength} numbers");
            }
        }

        return new JinjaList(numbers);
    }

    private static JinjaNamespace Namespace(Rendering run, Arguments arguments)
    {
        var names = new JinjaNamespace();
        if (arguments.Positional.Count > 0 && arguments.Positional[0] is JinjaDict initial)
        {
            foreach (var (name, value) in initial.Entries)
            {
                names.Members[name] = value;
            }
        }

        foreach (var (name, value) in arguments.Named)
        {
            names.Members[name] = value;
        }

        return names;
    }

    private static JinjaDict Dict(Rendering run, Arguments arguments)
    {
        var entries = new JinjaDict.Builder(plainKeys: arguments.Positional.Count > 0);
        if (arguments.Positional.Count > 0 && arguments.Positional[0] is JinjaDict initial)
        {
            foreach (var (name, value) in initial.Entries)
            {
                entries.Set(name, value);
            }
        }

        foreach (var (name, value) in arguments.Named)
        {
            entries.Set(name, value);
        }

        return entries.Build();
    }

    /// <summary>C's strftime in English, with glibc's "-" for no padding.</summary>
    private static string Format(DateTimeOffset now, string format, Arguments arguments)
    {
        if (format.Length > MaxFormat)
        {
            throw arguments.Error($"a format of {format.Length} characters, at most {MaxFormat}");
        }

        var text = new StringBuilder();
        for (var i = 0; i < format.Length; i++)
        {
            if (format[i] != '%' || i + 1 == format.Length)
            {
                text.Append(format[i]);
                continue;
            }

            var bare = format[++i] == '-' && i + 1 < format.Length;
            var field = Field(now, bare ? format[++i] : format[i]) ?? throw arguments.Error($"%{format[i]} is not supported");
            text.Append(bare && field.TrimStart('0', ' ') is { Length: > 0 } trimmed ? trimmed : field);
        }

        return text.ToString();
    }

    private static string? Field(DateTimeOffset now, char field)
    {
        string Date(string format) => now.ToString(format, CultureInfo.InvariantCulture);
        return field switch
        {
            'Y' => Date("yyyy"),
            'y' => Date("yy"),
            'm' => Date("MM"),
            'd' => Date("dd"),
            'e' => now.Day.ToString(CultureInfo.InvariantCulture).PadLeft(2),
            'B' => Date("MMMM"),
            'b' or 'h' => Date("MMM"),
            'A' => Date("dddd"),
            'a' => Date("ddd"),
            'H' => Date("HH"),
            'I' => Date("hh"),
            'M' => Date("mm"),
            'S' => Date("ss"),
            'p' => Date("tt"),
            'j' => now.DayOfYear.ToString("000", CultureInfo.InvariantCulture),
            'w' => ((int)now.DayOfWeek).ToString(CultureInfo.InvariantCulture),
            'u' => (now.DayOfWeek == DayOfWeek.Sunday ? 7 : (int)now.DayOfWeek).ToString(CultureInfo.InvariantCulture),
            'f' => Date("ffffff"),
            'F' => Date("yyyy-MM-dd"),
            'T' => Date("HH:mm:ss"),
            'R' => Date("HH:mm"),
            'D' => Date("MM/dd/yy"),
            'z' => Date("zzz").Replace(":", "", StringComparison.Ordinal),
            'n' => "\n",
            't' => "\t",
            '%' => "%",
            _ => null,
        };
    }
}
