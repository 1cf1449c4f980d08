namespace Sals.Engine.Evaluation.Tasks;

/// <summary>RULER's fwe: coded words of six letters, as often as a zeta distribution (alpha 2) says; the most frequent is noise, the next three are asked for.</summary>
public sealed class FrequentWords : EvalTask
{
    private const int Letters = 6;
    private const double Alpha = 2.0;

    /// <summary>Riemann zeta of <see cref="Alpha"/>.</summary>
    private const double Zeta = Math.PI * Math.PI / 6;

    public override string Name => "fwe";

    public override string Metric => "match_all";

    public override int? MostTokens => 50;

    // so that ranks 2, 3 and 4 differ in number
    public override int LeastUnits => 60;

    public override TaskDraft Make(Random random, int units)
    {
        // RULER: a fiftieth of the length in tokens; a word is about six of them
        var vocabulary = new HashSet<string>();
        var size = Math.Max(8, units * Letters / 50);
        while (vocabulary.Count < size)
        {
            vocabulary.Add(string.Create(Letters, random, (word, source) =>
            {
                foreach (ref var letter in word)
                {
                    letter = (char)('a' + source.Next(26));
                }
            }));
        }

        string[] ranked = ["...", .. vocabulary.Skip(1)];
        string[] text = [.. ranked.SelectMany((word, i) => Enumerable.Repeat(word, (int)(units * Math.Pow(i + 1, -Alpha) / Zeta)))];
        random.Shuffle(text);
        return new TaskDraft(
            $"Read the following coded text and track the frequency of each coded word. Find the three most frequently appeared coded words. {string.Join(' ', text)}\nQuestion: Do not provide any explanation. Please ignore the dots '....'. What are the three most frequently appeared words in the above coded text?",
            " Answer: According to the coded text above, the three most frequently appeared words are:",
            ranked[1..4]);
    }
}
