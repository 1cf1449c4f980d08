namespace Sals.Engine.Evaluation.Tasks;

/// <summary>
/// Needles in the words that sals-tiny was trained on (its recipe's canonical single, single_noise, multikey, multivalue and multiquery). The whole answer
/// must be right.
/// </summary>
public sealed class RecipeNeedles : EvalTask
{
    private const string Attribute = "special magic number";

    private readonly int _keys;
    private readonly int _values;
    private readonly int _asked;
    private readonly bool _noise;
    private readonly EvalText _text;

    /// <param name="values">Values of the first key; the others have one.</param>
    /// <param name="asked">Keys that are asked for.</param>
    public RecipeNeedles(string name, int keys, int values, int asked, bool noise, EvalText text) =>
        (Name, _keys, _values, _asked, _noise, _text) = (name, keys, values, asked, noise, text);

    public override string Name { get; }

    public override string Metric => "exact";

    public override bool IsMultiKey => _keys > 1;

    public override int LeastUnits => 40;

    /// <param name="units">Words of the haystack.</param>
    public override TaskDraft Make(Random random, int units)
    {
        var keys = Keys(random, _keys);
        (string Key, string Value)[] facts = [.. keys.SelectMany((key, i) => Enumerable.Range(0, i == 0 ? _values : 1).Select(_ => (key, Number(random))))];
        random.Shuffle(facts);
        var text = Weave(random, Filler(random, units), [.. facts.Select(fact => $"The {Attribute} for {fact.Key} is {fact.Value}.")]);
        string question, answer;
        if (_asked > 1)
        {
            string[] asked = [.. Sample(random, keys.Length, _asked).Select(i => keys[i])];
            question = $"What are the {Attribute}s for {Join(asked)}?";
            answer = $"The {Attribute} for {string.Join(", for ", asked.Select(key => $"{key} is {facts.First(fact => fact.Key == key).Value}"))}.";
        }
        else
        {
            // values in the order in which the text gives them
            string[] values = [.. facts.Where(fact => fact.Key == keys[0]).Select(fact => fact.Value)];
            question = values.Length > 1 ? $"What are all the {Attribute}s for {keys[0]}?" : $"What is the {Attribute} for {keys[0]}?";
            answer = values.Length > 1 ? $"The {Attribute}s for {keys[0]} are {Join(values)}." : $"The {Attribute} for {keys[0]} is {values[0]}.";
        }

        return new TaskDraft(
            $"Some {Attribute}s are hidden within the following text. Make sure to memorize them. I will quiz you about them afterwards.\n\n{text}\n\n{question}",
            "",
            [answer]);
    }

    private string Filler(Random random, int words)
    {
        if (_noise)
        {
            var sentence = RulerNeedles.NoiseSentences.Split(' ');
            return string.Join(' ', Enumerable.Range(0, words).Select(i => sentence[i % sentence.Length]));
        }

        var passage = _text.Passage(random, (int)Math.Min(8L * words, _text.Characters / 2));
        var end = 0;
        for (var word = 0; word < words && end >= 0; word++)
        {
            end = passage.IndexOfAny([' ', '\n'], Math.Min(end + 1, passage.Length));
        }

        return end > 0 ? passage[..end].TrimEnd() : passage;
    }

    /// <summary>Puts the needles, in order, behind sentences of the text that end after random depths, or behind the text.</summary>
    private static string Weave(Random random, string text, string[] needles)
    {
        int[] cuts = [.. needles.Select(_ => random.NextDouble()).Order().Select(depth => text.IndexOf(". ", (int)(depth * text.Length), StringComparison.Ordinal)).Select(at => at < 0 ? text.Length : at + 2)];
        var parts = new System.Text.StringBuilder(text.Length + 80 * needles.Length);
        var last = 0;
        for (var i = 0; i < needles.Length; i++)
        {
            parts.Append(text, last, cuts[i] - last);
            if (parts.Length > 0 && parts[^1] is not (' ' or '\n'))
            {
                parts.Append(' ');
            }

            parts.Append(needles[i]).Append(' ');
            last = cuts[i];
        }

        return parts.Append(text, last, text.Length - last).ToString().Trim();
    }
}
