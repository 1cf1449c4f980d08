using System.Globalization;

namespace Sals.Engine.Evaluation.Tasks;

/// <summary>What a task asks, before it is fitted to a length.</summary>
/// <param name="Message">The user's message.</param>
/// <param name="AnswerPrefix">Words with which the answer is begun for the model; may be empty.</param>
/// <param name="Answers">References; what of them must be said is the metric's business.</param>
public sealed record TaskDraft(string Message, string AnswerPrefix, string[] Answers);

/// <summary>A kind of question over a long text that is made up, so that it can be asked at any length.</summary>
public abstract class EvalTask
{
    /// <summary>As in --tasks and tables.</summary>
    public abstract string Name { get; }

    /// <summary>Name in <see cref="Metrics.EvalMetric"/>.</summary>
    public abstract string Metric { get; }

    /// <summary>Most tokens of an answer; null = those of the right answer and one that ends it.</summary>
    public virtual int? MostTokens => null;

    /// <summary>Several keys or values must be told apart: where the paper loses most.</summary>
    public virtual bool IsMultiKey => false;

    /// <summary>Least number of units, at which something can be asked.</summary>
    public virtual int LeastUnits => 1;

    /// <summary>The same draft for the same state of <paramref name="random"/> and number of units; longer with more units.</summary>
    /// <param name="units">Of whatever the haystack is made of: words, sentences, lines.</param>
    public abstract TaskDraft Make(Random random, int units);

    protected static string Number(Random random) => random.Next(1_000_000, 10_000_000).ToString(CultureInfo.InvariantCulture);

    /// <summary>"a", "a and b", "a, b and c".</summary>
    protected static string Join(IReadOnlyList<string> items, string comma = " and ") =>
        items.Count < 2 ? string.Concat(items) : $"{string.Join(", ", items.Take(items.Count - 1))}{comma}{items[^1]}";

    /// <summary>Different keys of two words, or of two words and a number when there are not enough pairs.</summary>
    protected static string[] Keys(Random random, int count)
    {
        var keys = new HashSet<string>(count);
        while (keys.Count < count)
        {
            var key = NeedleWords.Key(random);
            if (!keys.Add(key) && keys.Count > NeedleWords.PairCount / 2)
            {
                keys.Add(string.Create(CultureInfo.InvariantCulture, $"{key}-{random.Next(100, 1000)}"));
            }
        }

        return [.. keys];
    }

    /// <summary>Different whole numbers below <paramref name="range"/>, in random order.</summary>
    protected static int[] Sample(Random random, int range, int count)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count, range);
        var drawn = new HashSet<int>(count);
        while (drawn.Count < count)
        {
            drawn.Add(random.Next(range));
        }

        return [.. drawn];
    }
}
