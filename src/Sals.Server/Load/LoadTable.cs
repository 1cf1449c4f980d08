using System.Globalization;
using Spectre.Console;

namespace Sals.Server.Load;

/// <summary>A report for people.</summary>
public static class LoadTable
{
    private static readonly string[] Columns = ["mean", "median", "std"];

    /// <param name="metrics">Latencies to show.</param>
    public static void Print(LoadReport report, IReadOnlyCollection<LoadMetric> metrics, IAnsiConsole console)
    {
        var options = report.Options;
        var table = new Table().Border(TableBorder.Simple).HideHeaders().AddColumn("").AddColumn(new TableColumn("").RightAligned());
        void Row(string name, FormattableString value) => table.AddRow(name, Markup.Escape(Text(value)));
        Row("Complete requests", $"{report.Completed.Count:#,0}");
        foreach (var failure in report.Failures)
        {
            Row(Markup.Escape($"Failed: {failure.Kind}"), $"{failure.Count:#,0}");
        }

        Row("Duration, s", $"{report.Seconds:0.00}");
        if (double.IsFinite(options.RequestRate))
        {
            Row("Requests due a second, asked for", $"{options.RequestRate:0.###}");
        }

        Row("Most requests in flight", $"{report.PeakConcurrency():#,0}");
        Row("Prompt tokens", $"{report.InputTokens:#,0}");
        Row("  of them from the prefix cache", $"{report.CachedTokens:#,0}");
        Row("Output tokens", $"{report.OutputTokens:#,0}");
        Row("Requests/s", $"{report.Completed.Count / report.Seconds:0.00}");
        if (options.Goals.Count > 0)
        {
            Row("Goodput, requests/s", $"{report.Good / report.Seconds:0.00}");
            Row("Goodput, share of all", $"{(double)report.Good / Math.Max(1, report.Results.Count):0.0%}");
        }

        Row("Output tokens/s", $"{report.OutputTokens / report.Seconds:#,0.0}");
        Row("  in the best second", $"{report.PeakTokens():#,0}");
        Row("Prompt and output tokens/s", $"{(report.InputTokens + report.OutputTokens) / report.Seconds:#,0.0}");
        Row("Sent after due, p99, ms", $"{report.Lag:0.0}");
        console.Write(table);

        var latencies = new Table().Border(TableBorder.Simple).AddColumn("ms");
        foreach (var column in Columns.Concat(report.Percentiles.Select(percent => Text($"p{percent}"))))
        {
            latencies.AddColumn(new TableColumn(column).RightAligned().NoWrap());
        }

        foreach (var latency in report.Latencies.Where(latency => metrics.Contains(latency.Metric)))
        {
            latencies.AddRow([latency.Metric.ToString().ToUpperInvariant(), .. new[] { latency.Mean, latency.Median, latency.Deviation }.Concat(latency.Percentiles).Select(Show)]);
        }

        console.Write(latencies);
        foreach (var failure in report.Failures)
        {
            console.WriteLine($"{failure.Kind}: {failure.Example}");
        }

        if (report.Completed.Count > 0 && report.InputTokens == 0)
        {
            console.WriteLine("The server sends no usage: prompt tokens are not known, and an event with text counts as one token.");
        }
    }

    private static string Show(double milliseconds) => double.IsNaN(milliseconds) ? "-"
        : milliseconds.ToString(milliseconds >= 1000 ? "0" : milliseconds >= 100 ? "0.0" : "0.00", CultureInfo.InvariantCulture);

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}
