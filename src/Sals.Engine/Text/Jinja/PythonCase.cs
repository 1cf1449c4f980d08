using System.Text;

namespace Sals.Engine.Text.Jinja;

/// <summary>
/// Upper and lower case with the letters that become several (Unicode's SpecialCasing, the common ones) and the two that invariant
/// case mapping leaves alone.
/// </summary>
internal static class PythonCase
{
    private static readonly Dictionary<char, string> Longer = new()
    {
        ['ß'] = "SS",
        ['ŉ'] = "ʼN",
        ['ǰ'] = "J̌",
        ['ﬀ'] = "FF",
        ['ﬁ'] = "FI",
        ['ﬂ'] = "FL",
        ['ﬃ'] = "FFI",
        ['ﬄ'] = "FFL",
        ['ﬅ'] = "ST",
        ['ﬆ'] = "ST",
        ['և'] = "ԵՒ",
        ['ı'] = "I",
        ['ſ'] = "S",
        ['\u1E96'] = "H\u0331",
        ['\u1E97'] = "T\u0308",
        ['\u1E98'] = "W\u030A",
        ['\u1E99'] = "Y\u030A",
        ['\u1E9A'] = "A\u02BE",
    };

    public static string Upper(string text)
    {
        if (!text.Any(Longer.ContainsKey))
        {
            return text.ToUpperInvariant();
        }

        var upper = new StringBuilder(text.Length + 8);
        foreach (var c in text)
        {
            upper.Append(Longer.TryGetValue(c, out var several) ? several : c.ToString());
        }

        return upper.ToString().ToUpperInvariant();
    }

    public static string Lower(string text) => text.Replace("\u0130", "i\u0307", StringComparison.Ordinal).ToLowerInvariant();
}
