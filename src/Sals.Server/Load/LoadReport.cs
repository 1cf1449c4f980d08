namespace Sals.Server.Load;

public enum LoadMetric
{
    /// <summary>Time to the first token.</summary>
    Ttft,

    /// <summary>Time per output token after the first, one value a request.</summary>
    Tpot,

    /// <summary>Inter-token latency, one value a token after the first.</summary>
    Itl,

    /// <summary>End-to-end latency.</summary>
    E2el,
}

/// <summary>Milliseconds of one metric.</summary>
/// <param name="Percentiles">In the order they were asked for.</param>
public sealed record LoadLatency(LoadMetric Metric, int Count, double Mean, double Median, double Deviation, IReadOnlyList<double> Percentiles);

/// <summary>Failed requests of one class, with what one of them was told.</summary>
public sealed record LoadFailure(string Kind, int Count, string? Example);

/// <summary>The figures of a run. Latencies are of complete requests only; what failed is counted beside them.</summary>
public sealed class LoadReport
{
    public LoadReport(LoadOptions options, string model, DateTimeOffset date, IReadOnlyList<LoadResult> results, double seconds, IReadOnlyList<double> percentiles)
    {
        (Options, Model, Date, Seconds, Percentiles) = (options, model, date, seconds, percentiles);
        Results = [.. results.OrderBy(result => result.Number)];
        Completed = [.. Results.Where(result => result.Failure is null)];
        Failures = [.. Results.Where(result => result.Failure is not null).GroupBy(result => result.Failure!)
            .Select(group => new LoadFailure(group.Key, group.Count(), group.First().Detail)).OrderBy(failure => failure.Kind, StringComparer.Ordinal)];
        Latencies = [.. Enum.GetValues<LoadMetric>().Select(metric => Latency(metric, [.. Completed.SelectMany(result => Values(result, metric))]))];
        Good = Completed.Count(result => options.Goals.All(goal => Keeps(result, goal)));
        var lags = Results.Select(result => 1000 * (result.Sent - result.Due)).Order().ToArray();
        Lag = Percentile(lags, 99);
    }

    public LoadOptions Options { get; }

    public string Model { get; }

    public DateTimeOffset Date { get; }

    /// <summary>From the first arrival to the last answer.</summary>
    public double Seconds { get; }

    public IReadOnlyList<double> Percentiles { get; }

    public IReadOnlyList<LoadResult> Results { get; }

    public IReadOnlyList<LoadResult> Completed { get; }

    public IReadOnlyList<LoadFailure> Failures { get; }

    public IReadOnlyList<LoadLatency> Latencies { get; }

    /// <summary>Complete requests that kept every goal.</summary>
    public int Good { get; }

    /// <summary>Milliseconds, 99th percentile, by which requests left the client after they were due, waiting for a place included. Part of every latency.</summary>
    public double Lag { get; }

    public long InputTokens => Completed.Sum(result => (long)result.PromptTokens);

    public long CachedTokens => Completed.Sum(result => (long)result.CachedTokens);

    public long OutputTokens => Completed.Sum(result => (long)result.OutputTokens);

    /// <summary>Most requests in flight at once.</summary>
    public int PeakConcurrency()
    {
        var (now, peak) = (0, 0);
        foreach (var (_, change) in Results.SelectMany(result => new[] { (At: result.Sent, Change: 1), (At: result.End, Change: -1) }).OrderBy(edge => edge.At).ThenBy(edge => edge.Change))
        {
            peak = Math.Max(peak, now += change);
        }

        return peak;
    }

    /// <summary>Most output tokens in any whole second of the run.</summary>
    public long PeakTokens()
    {
        var seconds = new Dictionary<int, long>();
        foreach (var result in Completed)
        {
            var at = result.First;
            foreach (var gap in result.Gaps.Prepend(0))
            {
                at += gap;
                seconds[(int)at] = seconds.GetValueOrDefault((int)at) + 1;
            }
        }

        return seconds.Count == 0 ? 0 : seconds.Values.Max();
    }

    /// <summary>Linear between the two nearest, as numpy's default. NaN of nothing.</summary>
    /// <param name="sorted">Ascending.</param>
    public static double Percentile(IReadOnlyList<double> sorted, double percent)
    {
        if (sorted.Count == 0)
        {
            return double.NaN;
        }

        var place = percent / 100 * (sorted.Count - 1);
        var below = (int)place;
        return sorted[below] + ((place - below) * (sorted[Math.Min(below + 1, sorted.Count - 1)] - sorted[below]));
    }

    /// <summary>Seconds; nothing where a metric says nothing about a request.</summary>
    internal static IEnumerable<double> Values(LoadResult result, LoadMetric metric) => metric switch
    {
        LoadMetric.Ttft => [result.FirstToken],
        LoadMetric.Tpot => double.IsNaN(result.PerToken) ? [] : [result.PerToken],
        LoadMetric.Itl => result.Gaps.Select(gap => (double)gap),
        _ => [result.Whole],
    };

    private static bool Keeps(LoadResult result, LoadGoal goal) => Values(result, goal.Metric).All(value => value * 1000 <= goal.Milliseconds);

    private LoadLatency Latency(LoadMetric metric, double[] seconds)
    {
        var values = seconds.Where(double.IsFinite).Select(value => 1000 * value).Order().ToArray();
        if (values.Length == 0)
        {
            return new LoadLatency(metric, 0, double.NaN, double.NaN, double.NaN, [.. Percentiles.Select(_ => double.NaN)]);
        }

        var mean = values.Average();
        return new LoadLatency(
            metric, values.Length, mean, Percentile(values, 50), Math.Sqrt(values.Average(value => (value - mean) * (value - mean))),
            [.. Percentiles.Select(percent => Percentile(values, percent))]);
    }
}
