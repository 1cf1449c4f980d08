namespace Sals.Engine.Evaluation.Tasks;

/// <summary>The recipe's record: fields about one country, one of which is to be quoted.</summary>
/// <param name="records">At least one.</param>
public sealed class RecipeRecord(IReadOnlyList<CountryRecord> records) : EvalTask
{
    private const int LongestAnswer = 90;
    private const int LongestField = 500;

    public override string Name => "record";

    public override string Metric => "exact";

    public override int LeastUnits => 3;

    /// <param name="units">Fields, from a random one on; at most those of the country.</param>
    public override TaskDraft Make(Random random, int units)
    {
        var record = records[random.Next(records.Count)];
        var start = random.Next(record.Fields.Count);
        (string Name, string Text)[] chosen = [.. Enumerable.Range(0, Math.Min(units, record.Fields.Count)).Select(i => record.Fields[(start + i) % record.Fields.Count])];
        for (var i = 0; i < chosen.Length; i++)
        {
            var text = chosen[i].Text;
            chosen[i].Text = text.Length < LongestField ? text : $"{text[..Math.Max(1, text.LastIndexOf(' ', LongestField - 1))]} ...";
        }

        (string Name, string Text)[] askable = [.. chosen.Where(field => field.Text.Length is > 2 and < LongestAnswer)];
        if (askable.Length == 0)
        {
            return Make(random, units);
        }

        var (name, answer) = askable[random.Next(askable.Length)];
        return new TaskDraft(
            $"Here is a record about a country.\n\nCountry: {record.Country}\n{string.Join('\n', chosen.Select(field => $"{field.Name}: {field.Text}"))}\n\nWhat does the record say under \"{name}\"?",
            "",
            [$"{name}: {answer}"]);
    }
}

/// <param name="Fields">Name and text, in the record's order; at least one text of 3 to 89 characters.</param>
public sealed record CountryRecord(string Country, IReadOnlyList<(string Name, string Text)> Fields);
