namespace Sals.Engine.Evaluation.Metrics;

/// <summary>
/// Rouge-L as LongBench reports it (Lin 2004, summary level, as the Python package rouge 1.0.1 counts): sentences end at full stops, the union of the longest
/// common subsequences of every reference sentence with every predicted one, and different words are counted, not occurrences.
/// </summary>
public static class RougeL
{
    /// <summary>Harmonic mean of precision and recall, 0..1; 0 when either side has no sentence.</summary>
    public static double Score(string prediction, string reference)
    {
        var (evaluated, expected) = (Sentences(prediction), Sentences(reference));
        if (evaluated.Length == 0 || expected.Length == 0)
        {
            return 0;
        }

        var words = evaluated.SelectMany(words => words).Distinct(StringComparer.Ordinal).Count();
        var references = expected.SelectMany(words => words).Distinct(StringComparer.Ordinal).Count();
        var union = new HashSet<string>(StringComparer.Ordinal);
        foreach (var sentence in expected)
        {
            foreach (var other in evaluated)
            {
                union.UnionWith(LongestCommon(sentence, other));
            }
        }

        if (union.Count == 0)
        {
            return 0;
        }

        double precision = (double)union.Count / words, recall = (double)union.Count / references;
        return 2 * precision * recall / (precision + recall + 1e-8);
    }

    /// <summary>A sentence of white space counts as one empty word, as in the package.</summary>
    private static string[][] Sentences(string text) =>
        [.. text.Split('.').Where(sentence => sentence.Length > 0).Select(AnswerText.Words).Select(words => words.Length > 0 ? words : [""])];

    /// <summary>One longest common subsequence; of equals, the one that a walk from the end finds that prefers to step back in <paramref name="b"/>.</summary>
    private static List<string> LongestCommon(string[] a, string[] b)
    {
        var lengths = new int[a.Length + 1, b.Length + 1];
        for (var i = 1; i <= a.Length; i++)
        {
            for (var j = 1; j <= b.Length; j++)
            {
                lengths[i, j] = a[i - 1] == b[j - 1] ? lengths[i - 1, j - 1] + 1 : Math.Max(lengths[i - 1, j], lengths[i, j - 1]);
            }
        }

        List<string> common = [];
        for (int i = a.Length, j = b.Length; i > 0 && j > 0;)
        {
            if (a[i - 1] == b[j - 1])
            {
                common.Add(a[i - 1]);
                (i, j) = (i - 1, j - 1);
            }
            else if (lengths[i - 1, j] > lengths[i, j - 1])
            {
                i--;
            }
            else
            {
                j--;
            }
        }

        return common;
    }
}
