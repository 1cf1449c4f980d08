using System.Text.Json;

namespace Sals.Engine.Grammar;

/// <summary>Schemas of which no value fits two: by type, by constant, or by a required property with one value each.</summary>
internal static class DisjointSchemas
{
    public static bool Are(JsonElement root, JsonElement[] choices)
    {
        var keys = choices.Select(choice => SchemaPointer.Resolve(root, choice)).ToArray();
        return keys.Index().All(a => keys.Take(a.Index).All(b => AreDisjoint(a.Item, b)));
    }

    private static bool AreDisjoint(JsonElement a, JsonElement b)
    {
        if (a.ValueKind != JsonValueKind.Object || b.ValueKind != JsonValueKind.Object)
        {
            return false;
        }

        if (a.TryGetProperty("const", out var first) && b.TryGetProperty("const", out var second))
        {
            return JsonText.Write(first) != JsonText.Write(second);
        }

        if (a.TryGetProperty("type", out var left) && b.TryGetProperty("type", out var right) && left.ValueKind == JsonValueKind.String && right.ValueKind == JsonValueKind.String)
        {
            var (one, other) = (JsonText.TextOf(left), JsonText.TextOf(right));
            if (one != other)
            {
                return !(one is "integer" or "number" && other is "integer" or "number");
            }

            return one == "object" && Tags(a).Any(tag => Tags(b).Any(tagged => tagged.Name == tag.Name && tagged.Value != tag.Value));
        }

        return false;
    }

    /// <summary>Required properties with one possible value.</summary>
    private static IEnumerable<(string Name, string Value)> Tags(JsonElement schema)
    {
        if (!schema.TryGetProperty("properties", out var properties) || properties.ValueKind != JsonValueKind.Object)
        {
            yield break;
        }

        var required = SchemaKeywords.Required(schema, "");
        foreach (var property in properties.EnumerateObject().Where(property => required.Contains(property.Name) && property.Value.ValueKind == JsonValueKind.Object))
        {
            if (property.Value.TryGetProperty("const", out var value)
                || (property.Value.TryGetProperty("enum", out var list) && list.ValueKind == JsonValueKind.Array && list.GetArrayLength() == 1 && (value = list[0]).ValueKind != JsonValueKind.Undefined))
            {
                yield return (property.Name, JsonText.Write(value));
            }
        }
    }
}
