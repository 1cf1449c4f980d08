using System.Text.Json;
using System.Text.RegularExpressions;

namespace Sals.Engine.Tests.Grammar;

/// <summary>A validator of JSON schemas as the specification reads, with nothing in common with the compiler.</summary>
internal static class SchemaCheck
{
    public static bool IsValid(JsonElement schema, JsonElement value, JsonElement root)
    {
        if (schema.ValueKind is JsonValueKind.True or JsonValueKind.False)
        {
            return schema.ValueKind == JsonValueKind.True;
        }

        foreach (var keyword in schema.EnumerateObject())
        {
            if (!Holds(keyword.Name, keyword.Value, schema, value, root))
            {
                return false;
            }
        }

        return true;
    }

    private static bool Holds(string name, JsonElement rule, JsonElement schema, JsonElement value, JsonElement root) => name switch
    {
        "type" => rule.ValueKind == JsonValueKind.Array ? rule.EnumerateArray().Any(type => IsType(type.GetString()!, value)) : IsType(rule.GetString()!, value),
        "enum" => rule.EnumerateArray().Any(item => JsonElement.DeepEquals(item, value)),
        "const" => JsonElement.DeepEquals(rule, value),
        "anyOf" => rule.EnumerateArray().Any(item => IsValid(item, value, root)),
        "oneOf" => rule.EnumerateArray().Count(item => IsValid(item, value, root)) == 1,
        "allOf" => rule.EnumerateArray().All(item => IsValid(item, value, root)),
        "$ref" => IsValid(Find(root, rule.GetString()!), value, root),
        "required" => value.ValueKind != JsonValueKind.Object || rule.EnumerateArray().All(item => value.TryGetProperty(item.GetString()!, out _)),
        "properties" => value.ValueKind != JsonValueKind.Object
            || rule.EnumerateObject().All(item => !value.TryGetProperty(item.Name, out var member) || IsValid(item.Value, member, root)),
        "additionalProperties" => value.ValueKind != JsonValueKind.Object || value.EnumerateObject().All(member =>
            (schema.TryGetProperty("properties", out var named) && named.TryGetProperty(member.Name, out _))
            || (rule.ValueKind != JsonValueKind.False && IsValid(rule, member.Value, root))),
        "items" => value.ValueKind != JsonValueKind.Array || value.EnumerateArray().Skip(schema.TryGetProperty("prefixItems", out var first) ? first.GetArrayLength() : 0).All(item => IsValid(rule, item, root)),
        "prefixItems" => value.ValueKind != JsonValueKind.Array || value.EnumerateArray().Zip(rule.EnumerateArray()).All(pair => IsValid(pair.Second, pair.First, root)),
        "minItems" => value.ValueKind != JsonValueKind.Array || value.GetArrayLength() >= rule.GetInt32(),
        "maxItems" => value.ValueKind != JsonValueKind.Array || value.GetArrayLength() <= rule.GetInt32(),
        "minLength" => value.ValueKind != JsonValueKind.String || value.GetString()!.EnumerateRunes().Count() >= rule.GetInt32(),
        "maxLength" => value.ValueKind != JsonValueKind.String || value.GetString()!.EnumerateRunes().Count() <= rule.GetInt32(),
        "pattern" => value.ValueKind != JsonValueKind.String || Regex.IsMatch(value.GetString()!, rule.GetString()!, RegexOptions.None, TimeSpan.FromSeconds(5)),
        "format" => value.ValueKind != JsonValueKind.String || IsFormat(rule.GetString()!, value.GetString()!),
        "minimum" => value.ValueKind != JsonValueKind.Number || value.GetDouble() >= rule.GetDouble(),
        "maximum" => value.ValueKind != JsonValueKind.Number || value.GetDouble() <= rule.GetDouble(),
        "exclusiveMinimum" => value.ValueKind != JsonValueKind.Number || value.GetDouble() > rule.GetDouble(),
        "exclusiveMaximum" => value.ValueKind != JsonValueKind.Number || value.GetDouble() < rule.GetDouble(),
        "title" or "description" or "$defs" or "definitions" or "default" => true,
        _ => throw new ArgumentException($"the validator does not know '{name}'"),
    };

    private static bool IsType(string type, JsonElement value) => type switch
    {
        "object" => value.ValueKind == JsonValueKind.Object,
        "array" => value.ValueKind == JsonValueKind.Array,
        "string" => value.ValueKind == JsonValueKind.String,
        "number" => value.ValueKind == JsonValueKind.Number,
        "integer" => value.ValueKind == JsonValueKind.Number && value.GetDouble() == Math.Floor(value.GetDouble()),
        "boolean" => value.ValueKind is JsonValueKind.True or JsonValueKind.False,
        _ => value.ValueKind == JsonValueKind.Null,
    };

    private static bool IsFormat(string format, string text) => format switch
    {
        "date" => DateOnly.TryParseExact(text, "yyyy-MM-dd", out _) || text.StartsWith("0000", StringComparison.Ordinal),
        "date-time" => DateTimeOffset.TryParse(text, System.Globalization.CultureInfo.InvariantCulture, out _) || text[0] == '0',
        "uuid" => Guid.TryParse(text, out _),
        "ipv4" => System.Net.IPAddress.TryParse(text, out _),
        _ => true,
    };

    private static JsonElement Find(JsonElement root, string pointer) =>
        pointer.Split('/').Skip(1).Aggregate(root, (at, name) => at.GetProperty(name));
}
