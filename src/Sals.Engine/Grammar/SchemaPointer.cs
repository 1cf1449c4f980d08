using System.Globalization;
using System.Text.Json;

namespace Sals.Engine.Grammar;

/// <summary>"$ref" within one schema, as JSON pointers.</summary>
internal static class SchemaPointer
{
    public static JsonElement Find(JsonElement root, string target, string path)
    {
        if (target != "#" && !target.StartsWith("#/", StringComparison.Ordinal))
        {
            throw new GrammarException(path, "expected a reference within the schema, which begins with #/");
        }

        var at = root;
        foreach (var part in target.Split('/').Skip(1))
        {
            var name = Uri.UnescapeDataString(part).Replace("~1", "/", StringComparison.Ordinal).Replace("~0", "~", StringComparison.Ordinal);
            at = at.ValueKind == JsonValueKind.Object && at.TryGetProperty(name, out var found) ? found
                : at.ValueKind == JsonValueKind.Array && int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out var i) && i < at.GetArrayLength() ? at[i]
                : throw new GrammarException(path, "expected a reference to a part of the schema that exists");
        }

        return at;
    }

    public static JsonElement Resolve(JsonElement root, JsonElement schema) =>
        schema.ValueKind == JsonValueKind.Object && schema.TryGetProperty("$ref", out var reference) && reference.ValueKind == JsonValueKind.String
            ? Find(root, JsonText.TextOf(reference), "") : schema;
}
