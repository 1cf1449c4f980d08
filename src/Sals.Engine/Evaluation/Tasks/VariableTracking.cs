using System.Globalization;

namespace Sals.Engine.Evaluation.Tasks;

/// <summary>RULER's vt: one chain of five assignments in noise; all variables that have the value are asked for, after one worked example.</summary>
public sealed class VariableTracking : EvalTask
{
    private const int Hops = 4;
    private const int ExampleSentences = 5;

    public override string Name => "vt";

    public override string Metric => "match_all";

    public override int? MostTokens => 30;

    public override int LeastUnits => Hops + 1;

    public override TaskDraft Make(Random random, int units)
    {
        var example = Chain(random, ExampleSentences, 3);
        var (question, prefix, names) = Chain(random, units, 5);
        return new TaskDraft($"{example.Question}{example.Prefix}{string.Join(' ', example.Names)}\n\n{question}", prefix, names);
    }

    private static (string Question, string Prefix, string[] Names) Chain(Random random, int sentences, int letters)
    {
        var names = new HashSet<string>(Hops + 1);
        while (names.Count <= Hops)
        {
            names.Add(string.Create(letters, random, (name, source) =>
            {
                foreach (ref var letter in name)
                {
                    letter = (char)('A' + source.Next(26));
                }
            }));
        }

        string[] chain = [.. names];
        var value = random.Next(10_000, 99_999).ToString(CultureInfo.InvariantCulture);
        List<string> lines = [.. Enumerable.Repeat(RulerNeedles.NoiseSentences, sentences)];
        int[] places = [.. Sample(random, sentences, chain.Length).Order()];
        for (var i = 0; i < chain.Length; i++)
        {
            lines.Insert(places[i] + i, i == 0 ? $"VAR {chain[0]} = {value}" : $"VAR {chain[i]} = VAR {chain[i - 1]} ");
        }

        return (
            $"Memorize and track the chain(s) of variable assignment hidden in the following text.\n\n{string.Join('\n', lines)}\nQuestion: Find all variables that are assigned the value {value} in the text above.",
            $" Answer: According to the chain(s) of variable assignment in the text above, {chain.Length} variables are assigned the value {value}, they are: ",
            chain);
    }
}
