using System.Text.Json;

namespace Sals.Server.Options;

/// <summary>
/// Settings in a file: a JSON object, or lines of <c>key: value</c> as in a flat YAML file (comments with #, quotes, lists as
/// <c>[a, b]</c> or indented <c>- item</c> lines). Keys are setting names, with dashes or underscores.
/// </summary>
public static class ConfigFile
{
    /// <summary>Largest file that is read.</summary>
    private const long MaxBytes = 1 << 20;

    public static SettingSource Read(string path)
    {
        var name = Path.GetFileName(path);
        var source = new SettingSource(_ => name);
        try
        {
            if (new FileInfo(path).Length > MaxBytes)
            {
                source.Errors.Add($"{name}: expected at most {MaxBytes} bytes");
                return source;
            }

            Add(source, name, File.ReadAllText(path));
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            source.Errors.Add($"--config: {exception.Message}");
        }

        return source;
    }

    /// <summary>The "Sals" section of appsettings.json; a missing file or section is empty.</summary>
    public static SettingSource ReadAppSettings(string path)
    {
        var name = Path.GetFileName(path);
        var source = new SettingSource(_ => name);
        if (!File.Exists(path))
        {
            return source;
        }

        try
        {
            using var document = JsonDocument.Parse(File.ReadAllText(path), Lenient);
            if (document.RootElement.TryGetProperty("Sals", out var section))
            {
                AddJson(source, name, section);
            }
        }
        catch (JsonException exception)
        {
            source.Errors.Add($"{name}: {exception.Message}");
        }

        return source;
    }

    /// <summary>Parses the text of a configuration file; <paramref name="name"/> is for messages.</summary>
    public static void Add(SettingSource source, string name, string text)
    {
        if (text.AsSpan().TrimStart().StartsWith("{"))
        {
            try
            {
                using var document = JsonDocument.Parse(text, Lenient);
                AddJson(source, name, document.RootElement);
            }
            catch (JsonException exception)
            {
                source.Errors.Add($"{name}: {exception.Message}");
            }
        }
        else
        {
            AddLines(source, name, text);
        }
    }

    /// <summary>"a, b" or "[a, b]" to its items. One in quotes, which are removed, may have commas.</summary>
    public static IReadOnlyList<string> SplitList(string text)
    {
        text = text.Trim();
        if (text.StartsWith('[') && text.EndsWith(']'))
        {
            text = text[1..^1];
        }

        var items = new List<string>();
        var (start, quote) = (0, '\0');
        for (var i = 0; i <= text.Length; i++)
        {
            var c = i < text.Length ? text[i] : ',';
            if (quote != '\0' && i < text.Length)
            {
                quote = c == quote ? '\0' : quote;
            }
            else if (c is '"' or '\'' && text.AsSpan(start, i - start).IsWhiteSpace())
            {
                quote = c;
            }
            else if (c == ',')
            {
                items.Add(Unquote(text[start..i].Trim()));
                start = i + 1;
            }
        }

        items.RemoveAll(item => item.Length == 0);
        return items;
    }

    private static JsonDocumentOptions Lenient => new() { CommentHandling = JsonCommentHandling.Skip, AllowTrailingCommas = true };

    private static void AddJson(SettingSource source, string name, JsonElement section)
    {
        if (section.ValueKind != JsonValueKind.Object)
        {
            source.Errors.Add($"{name}: expected an object of settings");
            return;
        }

        foreach (var property in section.EnumerateObject())
        {
            var value = property.Value;
            if (Find(source, name, property.Name) is not { } setting || value.ValueKind == JsonValueKind.Null)
            {
                continue;
            }

            if (value.ValueKind is JsonValueKind.Object || (value.ValueKind == JsonValueKind.Array && setting.Form != SettingForm.List))
            {
                source.Errors.Add($"{name}: {property.Name}: expected one value");
                continue;
            }

            source.Texts[setting.Name] = value.ValueKind == JsonValueKind.Array
                ? [.. value.EnumerateArray().Select(Scalar)]
                : setting.Form == SettingForm.List ? SplitList(Scalar(value)) : [Scalar(value)];
        }
    }

    private static string Scalar(JsonElement value) => value.ValueKind == JsonValueKind.String ? value.GetString()! : value.GetRawText();

    private static void AddLines(SettingSource source, string name, string text)
    {
        Setting? list = null;
        var number = 0;
        foreach (var raw in text.Split('\n'))
        {
            number++;
            var line = WithoutComment(raw).TrimEnd();
            if (line.Trim().Length == 0 || line == "---")
            {
                continue;
            }

            var trimmed = line.TrimStart();
            if (trimmed.StartsWith("- ", StringComparison.Ordinal) && list is not null)
            {
                source.Texts[list.Name] = [.. source.Texts.GetValueOrDefault(list.Name, []), Unquote(trimmed[2..].Trim())];
                continue;
            }

            list = null;
            var colon = line.IndexOf(':', StringComparison.Ordinal);
            if (colon <= 0 || char.IsWhiteSpace(line[0]))
            {
                source.Errors.Add($"{name} line {number}: expected 'key: value', found '{trimmed}'");
                continue;
            }

            if (Find(source, $"{name} line {number}", line[..colon].Trim()) is not { } setting)
            {
                continue;
            }

            var value = line[(colon + 1)..].Trim();
            if (setting.Form == SettingForm.List)
            {
                list = setting;
                source.Texts[setting.Name] = SplitList(value);
            }
            else if (value is not ("null" or "~"))
            {
                source.Texts[setting.Name] = [Unquote(value)];
            }
        }
    }

    private static Setting? Find(SettingSource source, string place, string key)
    {
        var wanted = key.Replace('_', '-');
        var setting = Settings.All.FirstOrDefault(candidate => candidate.Name == wanted);
        if (setting is null)
        {
            source.Errors.Add($"{place}: expected the name of a setting, found '{key}'");
        }

        return setting;
    }

    private static string WithoutComment(string line)
    {
        var quote = '\0';
        for (var i = 0; i < line.Length; i++)
        {
            if (quote != '\0')
            {
                quote = line[i] == quote ? '\0' : quote;
            }
            else if (line[i] is '"' or '\'')
            {
                quote = line[i];
            }
            else if (line[i] == '#' && (i == 0 || char.IsWhiteSpace(line[i - 1])))
            {
                return line[..i];
            }
        }

        return line;
    }

    private static string Unquote(string text) =>
        text.Length >= 2 && text[0] is '"' or '\'' && text.Length >= 2 && text[^1] == text[0] ? text[1..^1] : text;
}
