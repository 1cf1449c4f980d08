using System.Globalization;

namespace Sals.Engine.Evaluation.Tasks;

/// <summary>RULER's cwe: a numbered list in which ten words are said more often than the others; the ten are asked for, after one worked example.</summary>
public sealed class CommonWords : EvalTask
{
    private const int Common = 10;

    /// <summary>From this many words on a list is a long one, in which words are repeated 30 and 3 times instead of 6 and once (RULER: from 4,096 tokens on).</summary>
    private const int LongList = 250;

    private readonly string[] _words;

    /// <param name="text">Gives words where the built-in ones are too few.</param>
    public CommonWords(EvalText text) => _words =
    [
        .. NeedleWords.All.Concat(text.Documents.SelectMany(document => document.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries))
            .Where(word => word.Length > 3 && word.All(char.IsAsciiLetterLower)).Distinct().Order(StringComparer.Ordinal)).Distinct(),
    ];

    public override string Name => "cwe";

    public override string Metric => "match_all";

    public override int? MostTokens => 120;

    public override int LeastUnits => Common + 1;

    public override TaskDraft Make(Random random, int units)
    {
        var isLong = units >= LongList;
        var example = isLong ? List(random, 40, 10, 3) : List(random, 20, 3, 1);
        var (question, words) = isLong ? List(random, units, 30, 3) : List(random, units, 6, 1);
        const string prefix = " Answer: The top 10 words that appear most often in the list are:";
        return new TaskDraft($"{example.Question}{prefix} {Numbered(example.Common)}\n{question}", prefix, words);
    }

    private (string Question, string[] Common) List(Random random, int count, int often, int seldom)
    {
        string[] words = [.. Sample(random, _words.Length, Math.Min(count, _words.Length)).Select(i => _words[i])];
        string[] list = [.. words.SelectMany((word, i) => Enumerable.Repeat(word, i < Common ? often : seldom))];
        random.Shuffle(list);
        return (
            $"Below is a numbered list of words. In these words, some appear more often than others. Memorize the ones that appear most often.\n{Numbered(list)}\nQuestion: What are the 10 most common words in the above list?",
            words[..Common]);
    }

    private static string Numbered(string[] words) => string.Join(' ', words.Select((word, i) => string.Create(CultureInfo.InvariantCulture, $"{i + 1}. {word}")));
}
