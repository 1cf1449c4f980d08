namespace Sals.Engine.Evaluation.Metrics;

/// <summary>LongBench's code similarity: fuzzywuzzy's ratio of the first line that is code.</summary>
public static class CodeSimilarity
{
    /// <summary>The first predicted line without backquote, # and // against the reference, 0..1 in steps of 0.01.</summary>
    public static double Score(string prediction, string reference)
    {
        var line = prediction.TrimStart('\n').Split('\n').FirstOrDefault(
            line => !line.Contains('`', StringComparison.Ordinal) && !line.Contains('#', StringComparison.Ordinal) && !line.Contains("//", StringComparison.Ordinal), "");
        return Ratio(line, reference) / 100.0;
    }

    /// <summary>
    /// Per cent, rounded to nearest even: twice the characters of the longest common subsequence over the characters of both (fuzzywuzzy's ratio with python-Levenshtein, where a
    /// substitution costs two). 0 for an empty side.
    /// </summary>
    public static int Ratio(string a, string b)
    {
        if (a.Length == 0 || b.Length == 0)
        {
            return 0;
        }

        var row = new int[b.Length + 1];
        foreach (var c in a)
        {
            var diagonal = 0;
            for (var j = 1; j <= b.Length; j++)
            {
                (diagonal, row[j]) = (row[j], c == b[j - 1] ? diagonal + 1 : Math.Max(row[j], row[j - 1]));
            }
        }

        return (int)Math.Round(200.0 * row[b.Length] / (a.Length + b.Length), MidpointRounding.ToEven);
    }
}
