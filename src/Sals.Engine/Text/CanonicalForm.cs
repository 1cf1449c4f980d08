using System.Globalization;
using System.Text;

namespace Sals.Engine.Text;

/// <summary>Unicode normalisation forms D and C (UAX #15): full canonical decomposition, canonical order, then composition for C.</summary>
internal static class CanonicalForm
{
    private const int HangulBase = 0xAC00;
    private const int LBase = 0x1100;
    private const int VBase = 0x1161;
    private const int TBase = 0x11A7;
    private const int VCount = 21;
    private const int TCount = 28;
    private const int HangulCount = 19 * VCount * TCount;

    private static readonly Dictionary<int, int[]> Decomposed = [];
    private static readonly Dictionary<(int First, int Second), int> Composed = [];
    private static readonly Dictionary<int, byte> Classes = [];

    static CanonicalForm()
    {
        foreach (var entry in CanonicalData.Decompositions.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries))
        {
            var excluded = entry[0] == '!';
            var parts = entry[(excluded ? 1 : 0)..].Split('=', '+').Select(Hex).ToArray();
            Decomposed[parts[0]] = parts[1..];
            if (!excluded)
            {
                Composed[(parts[1], parts[2])] = parts[0];
            }
        }

        foreach (var entry in CanonicalData.CombiningClasses.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries))
        {
            var parts = entry.Split('=');
            var range = parts[0].Split('-');
            for (var c = Hex(range[0]); c <= Hex(range[^1]); c++)
            {
                Classes[c] = byte.Parse(parts[1], CultureInfo.InvariantCulture);
            }
        }
    }

    public static string Compose(string text)
    {
        // below the first combining mark every character is its own composed form
        if (text.AsSpan().IndexOfAnyInRange('\u0300', '\uFFFF') < 0)
        {
            return text;
        }

        var points = Ordered(text);
        return ToText(Compose(points));
    }

    public static string Decompose(string text) => text.AsSpan().IndexOfAnyInRange('\u00C0', '\uFFFF') < 0 ? text : ToText(Ordered(text));

    private static int Hex(string digits) => int.Parse(digits, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture);

    private static int Class(int codePoint) => codePoint < 0x300 ? 0 : Classes.GetValueOrDefault(codePoint);

    private static List<int> Ordered(string text)
    {
        var points = new List<int>(text.Length);
        foreach (var rune in text.EnumerateRunes())
        {
            Append(points, rune.Value);
        }

        // stable by class within each stretch of marks; a sort keeps a hostile run of marks at n log n
        for (var i = 0; i < points.Count;)
        {
            if (Class(points[i]) == 0)
            {
                i++;
                continue;
            }

            var end = i;
            var sorted = true;
            while (end < points.Count && Class(points[end]) != 0)
            {
                sorted &= end == i || Class(points[end - 1]) <= Class(points[end]);
                end++;
            }

            if (!sorted)
            {
                var marks = points.GetRange(i, end - i).OrderBy(Class).ToList();
                for (var k = 0; k < marks.Count; k++)
                {
                    points[i + k] = marks[k];
                }
            }

            i = end;
        }

        return points;
    }

    private static void Append(List<int> points, int point)
    {
        var syllable = point - HangulBase;
        if (syllable is >= 0 and < HangulCount)
        {
            points.Add(LBase + (syllable / (VCount * TCount)));
            points.Add(VBase + (syllable % (VCount * TCount) / TCount));
            if (syllable % TCount > 0)
            {
                points.Add(TBase + (syllable % TCount));
            }
        }
        else if (point >= 0xC0 && Decomposed.TryGetValue(point, out var parts))
        {
            foreach (var part in parts)
            {
                Append(points, part);
            }
        }
        else
        {
            points.Add(point);
        }
    }

    /// <summary>A mark joins the last starter unless a mark of the same or a higher class stands between.</summary>
    private static List<int> Compose(List<int> points)
    {
        var composed = new List<int>(points.Count);
        var starter = -1;
        var lastClass = 0;
        foreach (var point in points)
        {
            var @class = Class(point);
            var blocked = composed.Count - 1 > starter && lastClass >= @class;
            if (starter >= 0 && !blocked && Pair(composed[starter], point) is { } whole)
            {
                composed[starter] = whole;
                continue;
            }

            if (@class == 0)
            {
                starter = composed.Count;
            }

            lastClass = @class;
            composed.Add(point);
        }

        return composed;
    }

    private static int? Pair(int first, int second)
    {
        if (first is >= LBase and < LBase + 19 && second is >= VBase and < VBase + VCount)
        {
            return HangulBase + ((((first - LBase) * VCount) + (second - VBase)) * TCount);
        }

        var syllable = first - HangulBase;
        if (syllable is >= 0 and < HangulCount && syllable % TCount == 0 && second is > TBase and < TBase + TCount)
        {
            return first + (second - TBase);
        }

        return Composed.TryGetValue((first, second), out var whole) ? whole : null;
    }

    private static string ToText(List<int> points)
    {
        var text = new StringBuilder(points.Count);
        foreach (var point in points)
        {
            text.Append(new Rune(point).ToString());
        }

        return text.ToString();
    }
}
