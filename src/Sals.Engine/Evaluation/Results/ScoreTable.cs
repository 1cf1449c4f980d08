using Sals.Engine.Evaluation.Metrics;

namespace Sals.Engine.Evaluation.Results;

/// <summary>One task at one length with one cache.</summary>
/// <param name="Score">Mean, 0..1.</param>
/// <param name="StandardError">Binomial for 0-or-1 metrics, else of the sample.</param>
/// <param name="Low">Of the 95% interval: Wilson's for 0-or-1 metrics.</param>
/// <param name="SecondScore">Mean of the second metric, if there is one.</param>
/// <param name="Difference">Against the reference cache on the same prompts; null for that cache itself.</param>
public sealed record ScoreCell(
    string Task, int Length, string Cache, int Count, double Score, double StandardError, double Low, double High, double? SecondScore, PairedDifference? Difference);

/// <summary>Means over tasks of one cache at one length.</summary>
/// <param name="Tasks">Which the mean is over.</param>
public sealed record ScoreSummary(string Cache, int Length, IReadOnlyList<string> Tasks, double Score, PairedDifference? Difference);

/// <summary>One cache of a run.</summary>
/// <param name="Settings">In words that --sals takes.</param>
/// <param name="TokensPerSecond">Prompt and generated tokens over the seconds that its requests took in this run; null when all came from a file or a server.</param>
public sealed record CacheRow(string Cache, string Settings, CacheUse? Use, double? TokensPerSecond);

/// <summary>Tables of a run, all from its result lines.</summary>
public sealed class ScoreTable
{
    /// <summary>A task that the reference cache solves: what is lost on it says something about the cache.</summary>
    public const double SolvedScore = 0.9;

    private ScoreTable(IReadOnlyList<ScoreCell> cells, IReadOnlyList<string> caches, IReadOnlyList<string> tasks, IReadOnlyList<int> lengths) =>
        (Cells, Caches, Tasks, Lengths) = (cells, caches, tasks, lengths);

    public IReadOnlyList<ScoreCell> Cells { get; }

    /// <summary>The first is the reference of differences.</summary>
    public IReadOnlyList<string> Caches { get; }

    public IReadOnlyList<string> Tasks { get; }

    public IReadOnlyList<int> Lengths { get; }

    /// <param name="caches">Labels in the table's order; the first is the reference.</param>
    /// <param name="metricOf">Task → name of its metric.</param>
    public static ScoreTable Of(IReadOnlyList<EvalResult> results, IReadOnlyList<string> caches, IReadOnlyList<string> tasks, Func<string, string> metricOf)
    {
        var groups = results.GroupBy(result => (result.Task, result.Length, result.Cache)).ToDictionary(group => group.Key, group => group.ToDictionary(result => result.Number));
        int[] lengths = [.. results.Select(result => result.Length).Distinct().Order()];
        List<ScoreCell> cells = [];
        foreach (var task in tasks)
        {
            var binary = EvalMetric.IsBinary(metricOf(task));
            foreach (var length in lengths)
            {
                var reference = groups.GetValueOrDefault((task, length, caches[0]));
                cells.AddRange(caches.Where(cache => groups.ContainsKey((task, length, cache))).Select(cache =>
                    Cell(task, length, cache, groups[(task, length, cache)], cache == caches[0] ? null : reference, binary)));
            }
        }

        return new ScoreTable(cells, caches, tasks, lengths);
    }

    public ScoreCell? Cell(string task, int length, string cache) => Cells.FirstOrDefault(cell => cell.Task == task && cell.Length == length && cell.Cache == cache);

    /// <summary>Tasks that the reference solves at that length (<see cref="SolvedScore"/>).</summary>
    public IReadOnlyList<string> Solved(int length) => [.. Tasks.Where(task => Cell(task, length, Caches[0])?.Score >= SolvedScore)];

    /// <summary>Means over some tasks at a length; null when a cache has none of them.</summary>
    public ScoreSummary? Summary(string cache, int length, IReadOnlyList<string> tasks)
    {
        ScoreCell[] cells = [.. tasks.Select(task => Cell(task, length, cache)).OfType<ScoreCell>()];
        if (cells.Length == 0)
        {
            return null;
        }

        PairedDifference[] differences = [.. cells.Select(cell => cell.Difference).OfType<PairedDifference>()];
        return new ScoreSummary(
            cache, length, [.. cells.Select(cell => cell.Task)], cells.Average(cell => cell.Score), differences.Length == cells.Length ? PairedDifference.Average(differences) : null);
    }

    private static ScoreCell Cell(string task, int length, string cache, Dictionary<int, EvalResult> answers, Dictionary<int, EvalResult>? reference, bool binary)
    {
        double[] scores = [.. answers.Values.Select(answer => answer.Score)];
        var mean = SampleMean.Of(scores);
        PairedDifference? difference = null;
        int[] shared = reference is null ? [] : [.. answers.Keys.Where(reference.ContainsKey)];
        if (shared.Length > 0)
        {
            difference = PairedDifference.Of([.. shared.Select(number => answers[number].Score)], [.. shared.Select(number => reference![number].Score)], binary);
        }

        double? second = answers.Values.All(answer => answer.SecondScore is not null) ? answers.Values.Average(answer => answer.SecondScore!.Value) : null;
        if (binary)
        {
            var share = new Proportion(scores.Count(score => score > 0), scores.Length);
            return new ScoreCell(task, length, cache, scores.Length, share.Share, share.StandardError, share.Interval.Low, share.Interval.High, second, difference);
        }

        var error = scores.Length > 1 ? mean.StandardError : 0.5;
        return new ScoreCell(task, length, cache, scores.Length, mean.Mean, error, Math.Max(0, mean.Mean - (1.96 * error)), Math.Min(1, mean.Mean + (1.96 * error)), second, difference);
    }
}
