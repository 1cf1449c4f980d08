using System.Text.Json;

namespace Sals.Engine.Evaluation.Datasets;

/// <summary>Files of data sets: where they are, and their lines.</summary>
internal static class DatasetFile
{
    /// <summary>The file in the folder, or in one of its folders.</summary>
    /// <param name="dataset">For the message.</param>
    /// <exception cref="EvalException">It is in neither.</exception>
    public static string Find(string folder, string file, string dataset, params ReadOnlySpan<string> inner)
    {
        if (File.Exists(Path.Combine(folder, file)))
        {
            return Path.Combine(folder, file);
        }

        foreach (var name in inner)
        {
            if (File.Exists(Path.Combine(folder, name, file)))
            {
                return Path.Combine(folder, name, file);
            }
        }

        throw new EvalException($"--data {folder}: {dataset}'s {file} is not there{(inner.Length > 0 ? $", nor in {string.Join(" or ", inner.ToArray())}" : "")}. Data sets are not downloaded; put the published files there.");
    }

    /// <summary>One value a line of JSON.</summary>
    /// <exception cref="EvalException">A line is something else, or there is none.</exception>
    public static List<T> Lines<T>(string path, Func<JsonElement, int, T> read)
    {
        List<T> values = [];
        var number = 0;
        foreach (var line in File.ReadLines(path))
        {
            number++;
            if (line.Length == 0)
            {
                continue;
            }

            try
            {
                using var document = JsonDocument.Parse(line);
                values.Add(read(document.RootElement, values.Count));
            }
            catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException or FormatException)
            {
                throw new EvalException($"{path}, line {number}: not the data set's published format: {e.Message}");
            }
        }

        return values.Count > 0 ? values : throw new EvalException($"{path}: expected questions, found none.");
    }

    public static string Text(JsonElement element, string name) => element.GetProperty(name).GetString() ?? throw new FormatException($"{name} is null");
}
