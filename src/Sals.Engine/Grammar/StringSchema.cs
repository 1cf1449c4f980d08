using System.Text.Json;

namespace Sals.Engine.Grammar;

/// <summary>Schemas of strings: length, pattern, format.</summary>
internal static class StringSchema
{
    private static readonly Dictionary<string, string> Formats = new(StringComparer.Ordinal)
    {
        ["date"] = @"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])",
        ["time"] = @"([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+\-](0\d|1[0-3]):[0-5]\d)",
        ["date-time"] = @"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|1\d|2[0-8])T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+\-](0\d|1[0-3]):[0-5]\d)",
        ["uuid"] = @"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
        ["ipv4"] = @"((25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)\.){3}(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)",
        ["email"] = @"[A-Za-z0-9_]{1,32}(\.[A-Za-z0-9_]{1,32}){0,2}@[A-Za-z0-9]{1,32}(\.[A-Za-z0-9]{2,32}){1,2}",
    };

    public static Expression Read(JsonElement schema, string path, JsonText json)
    {
        var min = SchemaKeywords.Bound(schema, path, "minLength");
        var max = SchemaKeywords.Bound(schema, path, "maxLength");
        SchemaKeywords.Order(min ?? 0, max ?? -1, path, "minLength", "maxLength");
        var pattern = schema.TryGetProperty("pattern", out var given) ? given : default;
        if (pattern.ValueKind != JsonValueKind.Undefined)
        {
            if (pattern.ValueKind != JsonValueKind.String)
            {
                throw new GrammarException($"{path}.pattern", "expected a text");
            }

            return min is not null || max is not null
                ? throw new GrammarException($"{path}.pattern", "pattern beside minLength or maxLength is not supported; put the bounds into the pattern")
                : json.Shared($"pattern {JsonText.TextOf(pattern)}", () => JsonText.Quoted(Pattern(JsonText.TextOf(pattern), $"{path}.pattern", search: true)));
        }

        if (schema.TryGetProperty("format", out var format) && format.ValueKind == JsonValueKind.String && Formats.TryGetValue(JsonText.TextOf(format), out var known)
            && min is null && max is null)
        {
            return json.Shared($"format {known}", () => JsonText.Quoted(Pattern(known, $"{path}.format", search: false)));
        }

        return min is null && max is null
            ? json.AnyString
            : json.Shared($"length {min} {max}", () => JsonText.Quoted(Expression.Many(JsonText.Spell(CodePoints.All), min ?? 0, max ?? -1)));
    }

    private static Expression Pattern(string pattern, string path, bool search)
    {
        try
        {
            return RegexGrammar.Parse(pattern, JsonText.Spell, search);
        }
        catch (GrammarException exception)
        {
            throw new GrammarException(path, exception.Message);
        }
    }
}
