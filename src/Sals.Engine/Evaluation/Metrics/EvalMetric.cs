using System.Text.RegularExpressions;

namespace Sals.Engine.Evaluation.Metrics;

/// <summary>How answers are scored, 0..1, by name. Definitions: RULER (string_match_all, string_match_part), LongBench's metrics.py, lm-evaluation-harness for GSM8K, CoQA's evaluation.</summary>
public static partial class EvalMetric
{
    /// <summary>Names of metrics that give 0 or 1 only, so that binomial errors hold.</summary>
    public static bool IsBinary(string name) => name is "exact" or "match_part" or "gsm8k_strict" or "gsm8k_flexible";

    /// <param name="metric">Name.</param>
    /// <param name="prediction">What the model said behind the prompt, without end token.</param>
    /// <param name="references">Best one counts, except for match_all.</param>
    /// <param name="classes">Of a classification.</param>
    /// <param name="ended">The model ended its answer itself; only exact asks for it.</param>
    /// <exception cref="ArgumentException">No such metric.</exception>
    public static double Score(string metric, string prediction, IReadOnlyList<string> references, IReadOnlyList<string> classes, bool ended) => metric switch
    {
        "exact" => ended && prediction == references[0] ? 1 : 0,
        "match_all" => references.Average(reference => Says(prediction, reference) ? 1.0 : 0.0),
        "match_part" => references.Any(reference => Says(prediction, reference)) ? 1 : 0,
        "coqa_em" => AmongPeople(references, reference => AnswerText.Normalise(prediction) == AnswerText.Normalise(reference) ? 1 : 0),
        "coqa_f1" => AmongPeople(references, reference => PeopleF1(prediction, reference)),
        "qa_f1" => references.Max(reference => QuestionF1(prediction, reference)),
        "rouge_l" => references.Max(reference => RougeL.Score(prediction, reference)),
        "code_sim" => references.Max(reference => CodeSimilarity.Score(prediction, reference)),
        "classification" => references.Max(reference => Classification(prediction, reference, classes)),
        "retrieval" => references.Max(reference => SharesOfNumbers(prediction, Numbers().Match(ParagraphNumber().Match(reference).Value).Value)),
        "count" => references.Max(reference => SharesOfNumbers(prediction, reference)),
        "gsm8k_strict" => Same(StrictAnswer().Match(prediction).Groups["n"].Value, references[0]) ? 1 : 0,
        "gsm8k_flexible" => Same(FlexibleAnswer().Matches(prediction).LastOrDefault()?.Value ?? "", references[0]) ? 1 : 0,
        _ => throw new ArgumentException($"There is no metric {metric}.", nameof(metric)),
    };

    private static bool Says(string prediction, string reference) => prediction.Contains(reference, StringComparison.OrdinalIgnoreCase);

    private static double QuestionF1(string prediction, string reference) =>
        AnswerText.F1(AnswerText.Words(AnswerText.Normalise(prediction)), AnswerText.Words(AnswerText.Normalise(reference)));

    /// <summary>CoQA: of several people's answers each is left out in turn, and the best of the others counts.</summary>
    private static double AmongPeople(IReadOnlyList<string> references, Func<string, double> score) => references.Count == 1
        ? score(references[0])
        : Enumerable.Range(0, references.Count).Average(left => references.Where((_, i) => i != left).Max(score));

    /// <summary>As <see cref="QuestionF1"/>; where a side has no words, right or wrong.</summary>
    private static double PeopleF1(string prediction, string reference)
    {
        string one = AnswerText.Normalise(prediction), other = AnswerText.Normalise(reference);
        return one.Length == 0 || other.Length == 0 ? (one == other ? 1 : 0) : QuestionF1(prediction, reference);
    }

    /// <summary>1 over the number of classes that are named, if the right one is among them; names that are part of the right one's do not count.</summary>
    private static double Classification(string prediction, string reference, IReadOnlyList<string> classes)
    {
        List<string> named = [.. classes.Where(name => prediction.Contains(name, StringComparison.Ordinal))];

        // LongBench removes while it iterates, which passes over the name behind a removed one; kept, for equal scores
        for (var i = 0; i < named.Count; i++)
        {
            if (reference.Contains(named[i], StringComparison.Ordinal) && named[i] != reference)
            {
                named.RemoveAt(i);
            }
        }

        return named.Contains(reference) ? 1.0 / named.Count : 0;
    }

    /// <summary>Share of the numbers in the prediction that are the right one; 0 without numbers.</summary>
    private static double SharesOfNumbers(string prediction, string right)
    {
        var numbers = Numbers().Matches(prediction);
        return numbers.Count == 0 ? 0 : numbers.Count(number => number.Value == right) / (double)numbers.Count;
    }

    /// <summary>Equal without thousands' commas, dollar signs, a full stop at the end and case.</summary>
    private static bool Same(string said, string reference) =>
        said.Length > 0 && Plain(said).Equals(Plain(reference), StringComparison.OrdinalIgnoreCase);

    private static string Plain(string number) => number.Replace(",", "", StringComparison.Ordinal).Replace("$", "", StringComparison.Ordinal).TrimEnd('.');

    [GeneratedRegex(@"[0-9]+", RegexOptions.CultureInvariant)]
    private static partial Regex Numbers();

    [GeneratedRegex(@"Paragraph [0-9]+", RegexOptions.CultureInvariant)]
    private static partial Regex ParagraphNumber();

    [GeneratedRegex(@"#### (?<n>\-?[0-9\.\,]+)", RegexOptions.CultureInvariant | RegexOptions.ExplicitCapture)]
    private static partial Regex StrictAnswer();

    [GeneratedRegex(@"-?[$0-9.,]{2,}|-?[0-9]+", RegexOptions.CultureInvariant)]
    private static partial Regex FlexibleAnswer();
}
