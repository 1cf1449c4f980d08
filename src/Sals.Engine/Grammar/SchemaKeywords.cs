using System.Globalization;
using System.Text.Json;

namespace Sals.Engine.Grammar;

/// <summary>Which keywords of a schema are kept, which say nothing, which are refused by name; and those with simple values, checked.</summary>
internal static class SchemaKeywords
{
    private static readonly string[] Refused =
    [
        "not", "if", "then", "else", "dependentRequired", "dependentSchemas", "dependencies", "patternProperties", "propertyNames",
        "unevaluatedProperties", "unevaluatedItems", "contains", "minContains", "maxContains", "multipleOf", "minProperties", "maxProperties",
        "$dynamicRef", "$recursiveRef", "$anchor", "$dynamicAnchor", "additionalItems", "divisibleBy", "disallow", "extends",
    ];

    private static readonly string[] Annotations =
    [
        "title", "description", "default", "examples", "example", "$schema", "$id", "id", "$comment", "$defs", "definitions", "deprecated", "readOnly",
        "writeOnly", "discriminator",
    ];

    private static readonly HashSet<string> Keywords = new(StringComparer.Ordinal)
    {
        "$ref", "allOf", "anyOf", "oneOf", "const", "enum", "type", "properties", "required", "additionalProperties", "items", "prefixItems", "minItems", "maxItems",
        "minLength", "maxLength", "pattern", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum",
    };

    public static void RefuseUnsupported(JsonElement schema, string path)
    {
        foreach (var property in schema.EnumerateObject())
        {
            if (Refused.Contains(property.Name) || (property.Name == "uniqueItems" && property.Value.ValueKind != JsonValueKind.False))
            {
                throw new GrammarException($"{path}.{property.Name}", $"the keyword '{property.Name}' is not supported");
            }
        }
    }

    public static void Alone(JsonElement schema, string path, params string[] names)
    {
        foreach (var property in schema.EnumerateObject())
        {
            if (!names.Contains(property.Name) && !Annotations.Contains(property.Name) && Keywords.Contains(property.Name))
            {
                throw new GrammarException($"{path}.{property.Name}", $"the keyword '{property.Name}' beside '{names[0]}' is not supported");
            }
        }
    }

    /// <summary>Without "type" the keywords that are there say which one is meant; none = any value.</summary>
    public static string[] Types(JsonElement schema, string path)
    {
        if (schema.TryGetProperty("type", out var type))
        {
            return type.ValueKind switch
            {
                JsonValueKind.String => [JsonText.TextOf(type)],
                JsonValueKind.Array when type.GetArrayLength() > 0 && type.EnumerateArray().All(item => item.ValueKind == JsonValueKind.String) =>
                    [.. type.EnumerateArray().Select(JsonText.TextOf).Distinct()],
                _ => throw new GrammarException($"{path}.type", "expected the name of a type or a list of names"),
            };
        }

        bool Has(params string[] names) => names.Any(name => schema.TryGetProperty(name, out _));
        return Has("properties", "required", "additionalProperties") ? ["object"]
            : Has("items", "prefixItems", "minItems", "maxItems") ? ["array"]
            : Has("pattern", "minLength", "maxLength", "format") ? ["string"]
            : Has("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum") ? ["number"]
            : [];
    }

    public static HashSet<string> Required(JsonElement schema, string path)
    {
        if (!schema.TryGetProperty("required", out var required))
        {
            return [];
        }

        return required.ValueKind == JsonValueKind.Array && required.EnumerateArray().All(item => item.ValueKind == JsonValueKind.String)
            ? [.. required.EnumerateArray().Select(JsonText.TextOf)]
            : throw new GrammarException($"{path}.required", "expected a list of names");
    }

    public static int? Bound(JsonElement schema, string path, string name)
    {
        if (!schema.TryGetProperty(name, out var value))
        {
            return null;
        }

        return value.ValueKind == JsonValueKind.Number && value.TryGetDouble(out var number) && number >= 0 && number <= GrammarLimits.Parts && number == Math.Floor(number)
            ? (int)number
            : throw new GrammarException($"{path}.{name}", string.Create(CultureInfo.InvariantCulture, $"expected a whole number from 0 to {GrammarLimits.Parts}"));
    }

    public static void Order(int min, int max, string path, string low, string high)
    {
        if (max >= 0 && min > max)
        {
            throw new GrammarException($"{path}.{low}", $"expected at most {high}, which is {max}, found {min}");
        }
    }

    public static JsonElement[] List(JsonElement value, string path) =>
        value.ValueKind == JsonValueKind.Array && value.GetArrayLength() > 0 ? [.. value.EnumerateArray()] : throw new GrammarException(path, "expected a list that is not empty");
}
