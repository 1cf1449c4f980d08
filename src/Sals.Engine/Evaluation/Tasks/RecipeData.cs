namespace Sals.Engine.Evaluation.Tasks;

/// <summary>Files of the recipe's tasks that quote.</summary>
public static class RecipeData
{
    /// <summary>Lines of word, tab, meaning.</summary>
    /// <exception cref="EvalException">A line is something else.</exception>
    public static IReadOnlyList<(string Name, string Text)> Glossary(string path)
    {
        var entries = File.ReadLines(path).Select((line, i) => line.Split('\t') is [{ Length: > 0 } word, { Length: > 0 } meaning]
            ? (word, meaning)
            : throw new EvalException($"{path}, line {i + 1}: expected a word, a tab and its meaning.")).DistinctBy(entry => entry.word).ToList();
        return entries.Count > 1 ? entries : throw new EvalException($"{path}: expected at least two words.");
    }

    /// <summary>Blocks separated by empty lines: the country's name, then lines of field, tab, text.</summary>
    /// <exception cref="EvalException">A block is something else.</exception>
    public static IReadOnlyList<CountryRecord> Records(string path)
    {
        List<CountryRecord> records = [];
        List<(string Name, string Text)>? fields = null;
        var number = 0;
        foreach (var line in File.ReadLines(path))
        {
            number++;
            if (line.Length == 0)
            {
                fields = null;
            }
            else if (fields is null)
            {
                fields = [];
                records.Add(new CountryRecord(line, fields));
            }
            else
            {
                fields.Add(line.Split('\t') is [{ Length: > 0 } name, { Length: > 0 } text]
                    ? (name, text)
                    : throw new EvalException($"{path}, line {number}: expected a field's name, a tab and its text."));
            }
        }

        return records.Count > 0 && records.All(record => record.Fields.Any(field => field.Text.Length is > 2 and < 90))
            ? records
            : throw new EvalException($"{path}: expected countries with at least one field of 3 to 89 characters each.");
    }
}
