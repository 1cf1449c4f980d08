using System.Globalization;
using System.Text;

namespace Sals.Server.Telemetry;

/// <summary>
/// One family of the Prometheus text format: name, help, type and its series. The writer is our own because the names have a colon,
/// which .NET's metric libraries refuse. Format: prometheus.io/docs/instrumenting/exposition_formats, version 0.0.4.
/// </summary>
public abstract class MetricFamily
{
    protected MetricFamily(string name, string type, string help)
    {
        Name = name;
        Type = type;
        Help = help;
    }

    public string Name { get; }

    public string Type { get; }

    public string Help { get; }

    public void Write(StringBuilder text)
    {
        text.Append("# HELP ").Append(Name).Append(' ').Append(Help).Append('\n');
        text.Append("# TYPE ").Append(Name).Append(' ').Append(Type).Append('\n');
        WriteSeries(text);
    }

    protected abstract void WriteSeries(StringBuilder text);

    /// <summary>{a="b",c="d"}; backslash, quote and line feed escaped.</summary>
    public static string Labels(params ReadOnlySpan<(string Name, string Value)> labels)
    {
        var text = new StringBuilder("{");
        foreach (var (name, value) in labels)
        {
            text.Append(text.Length > 1 ? "," : "").Append(name).Append("=\"");
            text.Append(value.Replace("\\", "\\\\").Replace("\"", "\\\"").Replace("\n", "\\n")).Append('"');
        }

        return text.Append('}').ToString();
    }

    protected static void Line(StringBuilder text, string name, string labels, double value) =>
        text.Append(name).Append(labels).Append(' ').Append(Show(value)).Append('\n');

    /// <summary>The labels of each bucket of a histogram, the unbounded one last.</summary>
    protected static string[] BucketLabels(string labels, IEnumerable<double> bounds) =>
        [.. bounds.Append(double.PositiveInfinity).Select(bound => $"{labels[..^1]},le=\"{Show(bound)}\"}}")];

    /// <summary>Buckets made cumulative, count and sum.</summary>
    protected void Series(StringBuilder text, string labels, string[] bucketLabels, Func<int, long> count, double sum)
    {
        var total = 0L;
        for (var i = 0; i < bucketLabels.Length; i++)
        {
            total += count(i);
            Line(text, Name + "_bucket", bucketLabels[i], total);
        }

        Line(text, Name + "_count", labels, total);
        Line(text, Name + "_sum", labels, sum);
    }

    protected static string Show(double value) =>
        double.IsPositiveInfinity(value) ? "+Inf" : value.ToString(value == Math.Floor(value) && Math.Abs(value) < 1e15 ? "0.0" : "R", CultureInfo.InvariantCulture);
}

/// <summary>A value that is read when it is asked for: gauges, and counters that someone else counts.</summary>
public sealed class ReadFamily : MetricFamily
{
    private readonly (string Labels, Func<double> Read)[] _series;

    public ReadFamily(string name, string type, string help, params (string Labels, Func<double> Read)[] series)
        : base(name, type, help) => _series = series;

    protected override void WriteSeries(StringBuilder text)
    {
        foreach (var (labels, read) in _series)
        {
            Line(text, Name, labels, read());
        }
    }
}

/// <summary>A count for each value of one label, all present with 0 from the start.</summary>
public sealed class CounterFamily : MetricFamily
{
    private readonly string[] _labels;
    private readonly long[] _counts;

    public CounterFamily(string name, string help, params string[] labels)
        : base(name, "counter", help)
    {
        _labels = labels;
        _counts = new long[labels.Length];
    }

    public void Add(int series = 0, long count = 1) => Interlocked.Add(ref _counts[series], count);

    protected override void WriteSeries(StringBuilder text)
    {
        for (var i = 0; i < _labels.Length; i++)
        {
            Line(text, Name, _labels[i], Interlocked.Read(ref _counts[i]));
        }
    }
}

/// <summary>A histogram with fixed upper bounds, cumulative when written.</summary>
public sealed class HistogramFamily : MetricFamily
{
    private readonly string _labels;
    private readonly double[] _bounds;
    private readonly string[] _bucketLabels;
    private readonly long[] _counts;
    private readonly Lock _lock = new();
    private double _sum;

    /// <param name="labels">As made by <see cref="MetricFamily.Labels"/>, not empty.</param>
    public HistogramFamily(string name, string help, string labels, double[] bounds)
        : base(name, "histogram", help)
    {
        _labels = labels;
        _bounds = bounds;
        _counts = new long[bounds.Length + 1];
        _bucketLabels = BucketLabels(labels, bounds);
    }

    public void Observe(double value, long count = 1)
    {
        var bucket = 0;
        while (bucket < _bounds.Length && value > _bounds[bucket])
        {
            bucket++;
        }

        lock (_lock)
        {
            _counts[bucket] += count;
            _sum += value * count;
        }
    }

    protected override void WriteSeries(StringBuilder text)
    {
        lock (_lock)
        {
            Series(text, _labels, _bucketLabels, i => _counts[i], _sum);
        }
    }
}

/// <summary>A histogram that someone else fills: read when it is asked for.</summary>
public sealed class ReadHistogramFamily : MetricFamily
{
    private readonly string _labels;
    private readonly string[] _bucketLabels;
    private readonly Func<int, long> _count;
    private readonly Func<double> _sum;

    /// <param name="count">Observations in a bucket, not cumulative; the one after the last bound is unbounded.</param>
    public ReadHistogramFamily(string name, string help, string labels, IEnumerable<double> bounds, Func<int, long> count, Func<double> sum)
        : base(name, "histogram", help)
    {
        _labels = labels;
        _bucketLabels = BucketLabels(labels, bounds);
        _count = count;
        _sum = sum;
    }

    protected override void WriteSeries(StringBuilder text) => Series(text, _labels, _bucketLabels, _count, _sum());
}
