using System.Globalization;

namespace Sals.Server.Options;

/// <summary>Text to value. Each throws <see cref="FormatException"/> whose message completes "expected ...".</summary>
internal static class SettingParsers
{
    public static Func<string, int> Integer(int min, int max) => text =>
        int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value) && value >= min && value <= max
            ? value
            : throw new FormatException(max == int.MaxValue ? $"a whole number of at least {min}" : $"a whole number from {min} to {max}");

    public static Func<string, ulong> Seed => text =>
        ulong.TryParse(text, NumberStyles.None, CultureInfo.InvariantCulture, out var value)
            ? value
            : throw new FormatException("a whole number of at least 0");

    public static Func<string, double> Number(double min, double max) => text =>
        double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var value) && value >= min && value <= max
            ? value
            : throw new FormatException($"a number from {Show(min)} to {Show(max)}");

    public static Func<string, TimeSpan> Seconds(double min, double max) => text =>
        TimeSpan.FromSeconds(Number(min, max)(text.EndsWith('s') ? text[..^1] : text));

    /// <summary>A count of tokens: 8192, 32k (thousands), 32K (1,024s), as vLLM reads them.</summary>
    public static int Tokens(string text)
    {
        var scale = text.Length == 0 ? 1 : text[^1] switch { 'k' => 1000, 'K' => 1024, 'm' => 1_000_000, 'M' => 1024 * 1024, _ => 1 };
        var digits = scale == 1 ? text : text[..^1];
        return decimal.TryParse(digits, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value)
            && value * scale is >= 1 and <= int.MaxValue
            ? (int)(value * scale)
            : throw new FormatException("a number of tokens such as 8192, 32k or auto");
    }

    public static int? TokensOrAuto(string text) => text is "auto" or "-1" ? null : Tokens(text);

    /// <summary>Bytes: 1073741824, 512MiB, 4GiB, 4GB, 4G (1,024s but for KB, MB and GB).</summary>
    public static long Bytes(string text)
    {
        var digits = text.TrimEnd('k', 'K', 'm', 'M', 'g', 'G', 'i', 'b', 'B', ' ');
        var scale = text[digits.Length..].Trim().ToUpperInvariant() switch
        {
            "" or "B" => 1L,
            "KB" => 1000L,
            "MB" => 1_000_000L,
            "GB" => 1_000_000_000L,
            "K" or "KIB" => 1L << 10,
            "M" or "MIB" => 1L << 20,
            "G" or "GIB" => 1L << 30,
            _ => 0L,
        };
        return scale > 0
            && decimal.TryParse(digits, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var value)
            && value < 1L << 50
            && value * scale is >= 1 and <= 1L << 50
            ? (long)(value * scale)
            : throw new FormatException("a number of bytes such as 536870912, 512MiB or 4GB");
    }

    public static bool Switch(string text) => text.ToLowerInvariant() switch
    {
        "true" or "1" or "on" or "yes" => true,
        "false" or "0" or "off" or "no" => false,
        _ => throw new FormatException("true or false"),
    };

    /// <summary>One of the words of an enum: lower case names.</summary>
    public static T Word<T>(string text)
        where T : struct, Enum =>
        Enum.TryParse<T>(text, ignoreCase: true, out var value) && Enum.IsDefined(value) && !char.IsDigit(text[0])
            ? value
            : throw new FormatException("one of " + string.Join(", ", Enum.GetNames<T>().Select(name => name.ToLowerInvariant())));

    public static Func<string, string> OneOf(params string[] words) => text =>
        words.Contains(text, StringComparer.Ordinal) ? text : throw new FormatException("one of " + string.Join(", ", words));

    public static string File(string text) =>
        System.IO.File.Exists(text) ? Path.GetFullPath(text) : throw new FormatException("a file that exists");

    public static Uri Url(string text) =>
        Uri.TryCreate(text, UriKind.Absolute, out var url) && (url.Scheme == Uri.UriSchemeHttp || url.Scheme == Uri.UriSchemeHttps)
            ? url
            : throw new FormatException("a URL that begins with http:// or https://");

    private static string Show(double value) => value.ToString("0.###", CultureInfo.InvariantCulture);
}
