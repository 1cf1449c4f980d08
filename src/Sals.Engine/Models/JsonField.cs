using System.Text.Json;
using System.Text.Unicode;

namespace Sals.Engine.Models;

/// <summary>
/// A value of a JSON file of a model folder that knows where it stands, so that whatever is wrong with it is reported as
/// file, key, expected, found. The files are hostile: strict JSON, no duplicate keys, bounded depth and size.
/// </summary>
internal readonly struct JsonField
{
    /// <summary>Longest JSON file read whole (config.json, generation_config.json); real ones have a few kilobytes.</summary>
    public const int LongestConfig = 16 << 20;

    private static readonly JsonDocumentOptions Strict = new() { AllowDuplicateProperties = false, MaxDepth = 32 };

    private readonly string _file;
    private readonly string? _path;
    private readonly JsonElement _value;

    private JsonField(string file, string? path, JsonElement value)
    {
        _file = file;
        _path = path;
        _value = value;
    }

    public JsonValueKind Kind => _value.ValueKind;

    /// <summary>Missing or null.</summary>
    public bool Absent => Kind is JsonValueKind.Undefined or JsonValueKind.Null;

    public bool Present => !Absent;

    /// <summary>Reads a file whose outermost value is an object.</summary>
    /// <exception cref="ModelLoadException">Not readable, longer than <paramref name="longest"/> bytes, or not such JSON.</exception>
    public static JsonField Load(string file, int longest = LongestConfig)
    {
        long length = MappedFile.LengthOf(file);
        if (length > longest)
        {
            throw new ModelLoadException(file, null, $"at most {longest} bytes", $"{length}");
        }

        try
        {
            return Parse(file, null, File.ReadAllBytes(file));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw new ModelLoadException(file, $"cannot be read: {e.Message}", e);
        }
    }

    /// <summary>Parses text whose outermost value is an object.</summary>
    /// <param name="file">Named in errors.</param>
    /// <param name="subject">Part of the file, named in errors; null for all of it.</param>
    /// <param name="utf8">The text.</param>
    /// <exception cref="ModelLoadException">Not UTF-8, not strict JSON, deeper than 32 levels, duplicate keys, or no object.</exception>
    public static JsonField Parse(string file, string? subject, ReadOnlySpan<byte> utf8)
    {
        if (!Utf8.IsValid(utf8))
        {
            throw new ModelLoadException(file, subject, "UTF-8 text", "bytes that are not UTF-8");
        }

        try
        {
            var field = new JsonField(file, subject, JsonElement.Parse(utf8, Strict));
            field.Require(JsonValueKind.Object, "an object");
            return new JsonField(file, null, field._value);
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException)
        {
            throw new ModelLoadException(file, subject, "valid JSON", ModelLoadException.Shown(e.Message, 300), e);
        }
    }

    /// <summary>The member <paramref name="key"/> of an object; an absent field when it, or the object, is absent.</summary>
    /// <exception cref="ModelLoadException">This is a value, but no object.</exception>
    public JsonField this[string key]
    {
        get
        {
            JsonElement value = default;
            if (Present && !RequireObject()._value.TryGetProperty(key, out value))
            {
                value = default;
            }

            return new JsonField(_file, _path is null ? key : $"{_path}.{key}", value);
        }
    }

    public ModelLoadException Error(string expected, string? found = null) => new(_file, _path, expected, found ?? Found());

    public JsonField RequireObject()
    {
        Require(JsonValueKind.Object, "an object");
        return this;
    }

    /// <summary>An integer of [least, most].</summary>
    public int Int(int least, int most)
    {
        return Kind == JsonValueKind.Number && _value.TryGetInt32(out int value) && value >= least && value <= most
            ? value
            : throw Error($"an integer from {least} to {most}");
    }

    /// <summary>An integer of [least, most], or <paramref name="otherwise"/> when absent.</summary>
    public int Int(int least, int most, int otherwise) => Absent ? otherwise : Int(least, most);

    /// <summary>An integer of [0, 2^63).</summary>
    public long Count()
    {
        return Kind == JsonValueKind.Number && _value.TryGetInt64(out long value) && value >= 0 ? value : throw Error("an integer from 0 to 2^63 - 1");
    }

    /// <summary>A finite number of [least, most].</summary>
    public double Number(double least, double most)
    {
        return Kind == JsonValueKind.Number && _value.TryGetDouble(out double value) && double.IsFinite(value) && value >= least && value <= most
            ? value
            : throw Error($"a number from {least} to {most}");
    }

    /// <summary>A finite number of [least, most], or <paramref name="otherwise"/> when absent.</summary>
    public double Number(double least, double most, double otherwise) => Absent ? otherwise : Number(least, most);

    public bool Flag(bool otherwise)
    {
        return Kind switch
        {
            JsonValueKind.True => true,
            JsonValueKind.False => false,
            _ when Absent => otherwise,
            _ => throw Error("true or false"),
        };
    }

    public string Text()
    {
        Require(JsonValueKind.String, "a string");
        try
        {
            return _value.GetString()!;
        }
        catch (InvalidOperationException)
        {
            throw Error("a string", "an escape that is no character");
        }
    }

    /// <summary>The items of an array of at most <paramref name="most"/>.</summary>
    public List<JsonField> Items(int most)
    {
        Require(JsonValueKind.Array, "an array");
        if (_value.GetArrayLength() > most)
        {
            throw Error($"at most {most} items", $"{_value.GetArrayLength()}");
        }

        var items = new List<JsonField>();
        foreach (var item in _value.EnumerateArray())
        {
            items.Add(new JsonField(_file, $"{_path}[{items.Count}]", item));
        }

        return items;
    }

    /// <summary>The members of an object, in file order; their path in errors is their own name under this one's.</summary>
    public IEnumerable<(string Name, JsonField Value)> Members()
    {
        Require(JsonValueKind.Object, "an object");
        foreach (var member in _value.EnumerateObject())
        {
            string name;
            try
            {
                name = member.Name;
            }
            catch (InvalidOperationException)
            {
                throw Error("keys of valid characters", "an escape that is no character");
            }

            yield return (name, new JsonField(_file, _path is null ? name : $"{_path}.{name}", member.Value));
        }
    }

    private void Require(JsonValueKind kind, string expected)
    {
        if (Kind != kind)
        {
            throw Error(expected);
        }
    }

    private string Found()
    {
        return Kind switch
        {
            JsonValueKind.Undefined => "nothing",
            JsonValueKind.Object => "an object",
            JsonValueKind.Array => $"an array of {_value.GetArrayLength()}",
            _ => ModelLoadException.Shown(_value.GetRawText()),
        };
    }
}
