using System.Text.RegularExpressions;

namespace Sals.Engine.Evaluation.Metrics;

/// <summary>Answers as question-answering metrics compare them (SQuAD's evaluation, used by LongBench too).</summary>
public static partial class AnswerText
{
    /// <summary>Lower case, without ASCII punctuation, articles and surplus white space.</summary>
    public static string Normalise(string text)
    {
        var plain = string.Concat(text.ToLowerInvariant().Where(c => !(char.IsAscii(c) && (char.IsPunctuation(c) || char.IsSymbol(c)))));
        return string.Join(' ', Words(Articles().Replace(plain, " ")));
    }

    /// <summary>Cut at white space.</summary>
    public static string[] Words(string text) => text.Split((char[]?)null, StringSplitOptions.RemoveEmptyEntries);

    /// <summary>Harmonic mean of precision and recall over words, each counted as often as it occurs on both sides; 0 when nothing is shared.</summary>
    public static double F1(IReadOnlyCollection<string> prediction, IReadOnlyCollection<string> reference)
    {
        var left = reference.GroupBy(word => word).ToDictionary(group => group.Key, group => group.Count());
        var same = 0;
        foreach (var word in prediction)
        {
            if (left.TryGetValue(word, out var count) && count > 0)
            {
                left[word] = count - 1;
                same++;
            }
        }

        return same == 0 ? 0 : 2.0 * same / (prediction.Count + reference.Count);
    }

    [GeneratedRegex(@"\b(a|an|the)\b", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture)]
    private static partial Regex Articles();
}
