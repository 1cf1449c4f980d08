namespace Sals.Engine.Evaluation.Tasks;

/// <summary>The recipe's glossary: words with meanings, one of which is asked for.</summary>
/// <param name="entries">Word and meaning, words different.</param>
public sealed class RecipeGlossary(IReadOnlyList<(string Name, string Text)> entries) : EvalTask
{
    public override string Name => "glossary";

    public override string Metric => "exact";

    public override int LeastUnits => 2;

    /// <param name="units">Words in the list; at most those of the file.</param>
    public override TaskDraft Make(Random random, int units)
    {
        (string Name, string Text)[] chosen = [.. Sample(random, entries.Count, Math.Min(units, entries.Count)).Select(i => entries[i])];
        var (name, meaning) = chosen[random.Next(chosen.Length)];
        return new TaskDraft(
            $"Here is a list of words and their meanings.\n\n{string.Join('\n', chosen.Select(entry => $"{entry.Name}: {entry.Text}"))}\n\nWhat does {name} mean according to the list above?",
            "",
            [$"According to the list, {name} means: {meaning}."]);
    }
}
