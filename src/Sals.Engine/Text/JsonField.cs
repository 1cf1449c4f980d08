using System.Text.Json;

namespace Sals.Engine.Text;

/// <summary>Opens JSON files of a model folder with a size limit.</summary>
internal static class JsonFile
{
    /// <exception cref="TokenizerException">Too large, unreadable or not JSON; the message names the file.</exception>
    public static JsonDocument Open(string path, long maxBytes)
    {
        try
        {
            var length = new FileInfo(path).Length;
            if (length > maxBytes)
            {
                throw new TokenizerException($"{path}: {length} bytes, at most {maxBytes} are read");
            }

            using var stream = File.OpenRead(path);
            return JsonDocument.Parse(stream, new JsonDocumentOptions { MaxDepth = 32 });
        }
        catch (JsonException e)
        {
            throw new TokenizerException($"{path}: not JSON: {e.Message}", e);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new TokenizerException($"{path}: cannot be read: {e.Message}", e);
        }
    }
}

/// <summary>A JSON value and its path in the file, so that every complaint says where.</summary>
internal readonly record struct JsonField(JsonElement Element, string Path)
{
    public JsonField Object() => Expect(JsonValueKind.Object, "an object");

    /// <summary>The member, or null when it is absent or JSON null.</summary>
    public JsonField? Member(string name)
    {
        Object();
        try
        {
            return Element.TryGetProperty(name, out var value) && value.ValueKind != JsonValueKind.Null ? new JsonField(value, $"{Path}:{name}") : null;
        }
        catch (InvalidOperationException)
        {
            throw BadName(Path);
        }
    }

    public JsonField Required(string name) => Member(name) ?? throw new TokenizerException($"{Path}: \"{name}\" is missing");

    public string String()
    {
        Expect(JsonValueKind.String, "a string");
        try
        {
            return Element.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw new TokenizerException($"{Path}: not valid UTF-8 or UTF-16");
        }
    }

    public bool Bool() => Element.ValueKind is JsonValueKind.True or JsonValueKind.False
        ? Element.GetBoolean()
        : throw Unexpected("true or false");

    public int Int(int min, int max) => Element.ValueKind == JsonValueKind.Number && Element.TryGetInt32(out var value) && value >= min && value <= max
        ? value
        : throw Unexpected($"an integer {min} to {max}");

    public IEnumerable<JsonField> Items()
    {
        Expect(JsonValueKind.Array, "an array");
        return Enumerate(this);

        static IEnumerable<JsonField> Enumerate(JsonField array)
        {
            var index = 0;
            foreach (var item in array.Element.EnumerateArray())
            {
                yield return new JsonField(item, $"{array.Path}[{index++}]");
            }
        }
    }

    public IEnumerable<(string Name, JsonField Value)> Members()
    {
        Object();
        return Enumerate(this);

        static IEnumerable<(string, JsonField)> Enumerate(JsonField parent)
        {
            foreach (var member in parent.Element.EnumerateObject())
            {
                var name = NameOf(member, parent.Path);
                yield return (name, new JsonField(member.Value, $"{parent.Path}:{name}"));
            }
        }

        static string NameOf(JsonProperty member, string path)
        {
            try
            {
                return member.Name;
            }
            catch (InvalidOperationException)
            {
                throw BadName(path);
            }
        }
    }

    public TokenizerException Unexpected(string expected)
    {
        var found = Element.GetRawText();
        return new TokenizerException($"{Path}: expected {expected}, found {(found.Length > 60 ? found[..60] + "…" : found)}");
    }

    /// <summary>Half a surrogate pair in a name shows only when the name is read.</summary>
    private static TokenizerException BadName(string path) => new($"{path}: a member's name is not valid UTF-8 or UTF-16");

    private JsonField Expect(JsonValueKind kind, string expected) => Element.ValueKind == kind ? this : throw Unexpected(expected);
}
