using System.Globalization;
using System.Text.Json;

namespace Sals.Server.Api.Wire;

/// <summary>
/// The fields of one JSON object of a request, read with checks: what does not fit is an <see cref="ApiException"/> that names the
/// field by its path (<c>messages[0].content</c>), what was expected and what was found. A field that is null counts as absent.
/// </summary>
public readonly struct JsonFields
{
    private readonly JsonElement _object;
    private readonly string _path;

    public JsonFields(JsonElement element, string path = "")
    {
        _path = path;
        _object = element.ValueKind == JsonValueKind.Object ? element : throw Wrong(path, "an object", element);
    }

    public string PathOf(string name) => _path.Length == 0 ? name : $"{_path}.{name}";

    public bool Has(string name) => Find(name) is not null;

    public JsonElement? Find(string name) =>
        _object.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? value : null;

    public bool? Bool(string name) => Find(name) switch
    {
        null => null,
        { ValueKind: JsonValueKind.True } => true,
        { ValueKind: JsonValueKind.False } => false,
        { } other => throw Wrong(PathOf(name), "true or false", other),
    };

    public string? Text(string name, int maxLength, int minLength = 0) =>
        Find(name) is { } value ? TextOf(value, PathOf(name), maxLength, minLength) : null;

    public long? Integer(string name, long min, long max) =>
        Find(name) is { } value ? IntegerOf(value, PathOf(name), min, max) : null;

    public double? Number(string name, double min, double max, bool minAllowed = true)
    {
        if (Find(name) is not { } value)
        {
            return null;
        }

        var above = minAllowed ? "from" : "above";
        var expected = max < 1e9
            ? string.Create(CultureInfo.InvariantCulture, $"a number {above} {min} to {max}")
            : string.Create(CultureInfo.InvariantCulture, $"a number {above} {min}");
        return value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number)
            && (minAllowed ? number >= min : number > min) && number <= max
                ? number
                : throw Wrong(PathOf(name), expected, value);
    }

    public JsonFields? Object(string name) => Find(name) is { } value ? new JsonFields(value, PathOf(name)) : null;

    /// <summary>The items of a list with at most <paramref name="maxCount"/> of them; null when absent.</summary>
    public JsonElement[]? List(string name, int maxCount, int minCount = 0) =>
        Find(name) is { } value ? ListOf(value, PathOf(name), maxCount, minCount) : null;

    /// <summary>Name and value of every field that is not null.</summary>
    public IEnumerable<(string Name, JsonElement Value)> All()
    {
        foreach (var property in _object.EnumerateObject())
        {
            if (property.Value.ValueKind != JsonValueKind.Null)
            {
                yield return (property.Name, property.Value);
            }
        }
    }

    public static JsonElement[] ListOf(JsonElement value, string path, int maxCount, int minCount = 0)
    {
        if (value.ValueKind != JsonValueKind.Array)
        {
            throw Wrong(path, "a list", value);
        }

        var count = value.GetArrayLength();
        return count > maxCount ? throw Invalid(path, $"expected at most {maxCount} items, found {count}")
            : count < minCount ? throw Invalid(path, minCount == 1 ? "expected at least one item, found none" : $"expected at least {minCount} items, found {count}")
            : [.. value.EnumerateArray()];
    }

    public static string TextOf(JsonElement value, string path, int maxLength, int minLength = 0)
    {
        if (value.ValueKind != JsonValueKind.String)
        {
            throw Wrong(path, "a text", value);
        }

        string text;
        try
        {
            text = value.GetString()!;
        }
        catch (InvalidOperationException)
        {
            // half a surrogate pair, which is no text in any encoding
            throw Invalid(path, "expected valid Unicode, found half of a surrogate pair");
        }

        return text.Length > maxLength ? throw Invalid(path, $"expected at most {maxLength} characters, found {text.Length}")
            : text.Length < minLength ? throw Invalid(path, minLength == 1 ? "expected a text that is not empty" : $"expected at least {minLength} characters, found {text.Length}")
            : text;
    }

    public static long IntegerOf(JsonElement value, string path, long min, long max)
    {
        var found = 0L;
        var whole = value.ValueKind == JsonValueKind.Number
            && (value.TryGetInt64(out found) || (value.TryGetDouble(out var real) && Math.Abs(real) < 1L << 52 && real == (found = (long)real)));
        return whole && found >= min && found <= max
            ? found
            : throw Wrong(path, max < int.MaxValue ? $"a whole number from {min} to {max}" : $"a whole number of at least {min}", value);
    }

    public static ApiException Invalid(string path, string problem) => new(ApiError.Invalid(path, $"{path}: {problem}."));

    public static ApiException Wrong(string path, string expected, JsonElement found) =>
        new(ApiError.Invalid(path.Length == 0 ? null : path, $"{(path.Length == 0 ? "body" : path)}: expected {expected}, found {Show(found)}."));

    /// <summary>Scalars as written, cut short; never more of a request than that.</summary>
    private static string Show(JsonElement value) => value.ValueKind switch
    {
        JsonValueKind.Object => "an object",
        JsonValueKind.Array => "a list",
        JsonValueKind.String => "a text",
        JsonValueKind.Number => value.GetRawText() is { Length: > 24 } text ? text[..24] + "..." : value.GetRawText(),
        _ => value.GetRawText(),
    };
}
