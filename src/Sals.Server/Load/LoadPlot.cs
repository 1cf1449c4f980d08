using System.Globalization;
using System.Net;
using System.Text;

namespace Sals.Server.Load;

/// <summary>A page without scripts: latency of each request over the time at which it was due, and how latencies are distributed.</summary>
public static class LoadPlot
{
    private const int Width = 900;
    private const int Height = 320;
    private const int Left = 70;
    private const int Bottom = 40;
    private const int Top = 30;

    private static readonly (LoadMetric Metric, string Name, string Color)[] Lines =
    [
        (LoadMetric.Ttft, "time to first token", "#1f77b4"),
        (LoadMetric.Tpot, "time per output token", "#2ca02c"),
        (LoadMetric.E2el, "end to end", "#d62728"),
    ];

    public static string Html(LoadReport report)
    {
        var text = new StringBuilder("<!DOCTYPE html><html lang=\"en\"><meta charset=\"utf-8\"><title>sals load</title><style>body{font:14px sans-serif;margin:2em}svg{display:block;margin-bottom:2em}</style>\n");
        Add(text, $"<p>{WebUtility.HtmlEncode(report.Model)} at {WebUtility.HtmlEncode(report.Options.BaseUrl)}, {report.Date:u}: {report.Completed.Count} complete, {report.Results.Count - report.Completed.Count} failed, {report.Seconds:0.0} s</p>\n");
        Scatter(text, report);
        Distribution(text, report);
        return text.Append("</html>\n").ToString();
    }

    private static void Scatter(StringBuilder text, LoadReport report)
    {
        var right = Math.Max(1e-3, report.Results.Select(result => result.Due).DefaultIfEmpty().Max());
        var values = report.Completed.SelectMany(result => new[] { result.FirstToken, result.Whole }).Where(value => value > 0).DefaultIfEmpty(1e-3).ToArray();
        var axis = new LogAxis(values.Min(), values.Max());
        Begin(text, "Latency of each request by the second it was due (failed ones in grey at the bottom)");
        foreach (var decade in axis.Decades())
        {
            var y = Height - Bottom - (axis.Place(decade) * (Height - Bottom - Top));
            Add(text, $"<line x1=\"{Left}\" x2=\"{Width}\" y1=\"{y:0.0}\" y2=\"{y:0.0}\" stroke=\"#ddd\"/><text x=\"{Left - 6}\" y=\"{y + 4:0.0}\" text-anchor=\"end\">{Time(decade)}</text>\n");
        }

        for (var tick = 0; tick <= 5; tick++)
        {
            Add(text, $"<text x=\"{X(right * tick / 5):0.0}\" y=\"{Height - Bottom + 18}\" text-anchor=\"middle\">{right * tick / 5:0.##} s</text>\n");
        }

        foreach (var (metric, _, color) in Lines.Where(line => line.Metric != LoadMetric.Tpot))
        {
            foreach (var result in report.Completed)
            {
                foreach (var value in LoadReport.Values(result, metric).Where(value => value > 0))
                {
                    Add(text, $"<circle cx=\"{X(result.Due):0.0}\" cy=\"{Height - Bottom - (axis.Place(value) * (Height - Bottom - Top)):0.0}\" r=\"2\" fill=\"{color}\" fill-opacity=\"0.6\"/>");
                }
            }
        }

        foreach (var result in report.Results.Where(result => result.Failure is not null))
        {
            Add(text, $"<rect x=\"{X(result.Due) - 1:0.0}\" y=\"{Height - Bottom}\" width=\"2\" height=\"5\" fill=\"#888\"/>");
        }

        End(text, Lines.Where(line => line.Metric != LoadMetric.Tpot));
        double X(double second) => Left + (second / right * (Width - Left - 20));
    }

    private static void Distribution(StringBuilder text, LoadReport report)
    {
        var sets = Lines.Select(line => (line.Color, Values: report.Completed.SelectMany(result => LoadReport.Values(result, line.Metric)).Where(value => value > 0).Order().ToArray()))
            .Where(set => set.Values.Length > 0).ToArray();
        var axis = new LogAxis(sets.Select(set => set.Values[0]).DefaultIfEmpty(1e-3).Min(), sets.Select(set => set.Values[^1]).DefaultIfEmpty(1).Max());
        Begin(text, "Share of requests that were at least as fast");
        for (var tick = 0; tick <= 4; tick++)
        {
            var y = Y(tick / 4.0);
            Add(text, $"<line x1=\"{Left}\" x2=\"{Width}\" y1=\"{y:0.0}\" y2=\"{y:0.0}\" stroke=\"#ddd\"/><text x=\"{Left - 6}\" y=\"{y + 4:0.0}\" text-anchor=\"end\">{tick * 25}%</text>\n");
        }

        foreach (var decade in axis.Decades())
        {
            Add(text, $"<text x=\"{X(decade):0.0}\" y=\"{Height - Bottom + 18}\" text-anchor=\"middle\">{Time(decade)}</text>\n");
        }

        foreach (var (color, values) in sets)
        {
            // as many points as the plot has columns
            var step = Math.Max(1, values.Length / Width);
            var points = Enumerable.Range(0, values.Length).Where(i => i % step == 0 || i == values.Length - 1)
                .Select(i => string.Create(CultureInfo.InvariantCulture, $"{X(values[i]):0.0},{Y((i + 1.0) / values.Length):0.0}"));
            Add(text, $"<polyline fill=\"none\" stroke=\"{color}\" stroke-width=\"2\" points=\"{string.Join(' ', points)}\"/>\n");
        }

        End(text, Lines);
        double X(double seconds) => Left + (axis.Place(seconds) * (Width - Left - 20));
        double Y(double share) => Height - Bottom - (share * (Height - Bottom - Top));
    }

    private static void Begin(StringBuilder text, string title) =>
        Add(text, $"<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{Width}\" height=\"{Height + 20}\" font-family=\"sans-serif\" font-size=\"12\"><text x=\"{Left}\" y=\"16\" font-size=\"14\">{title}</text>\n");

    private static void End(StringBuilder text, IEnumerable<(LoadMetric Metric, string Name, string Color)> lines)
    {
        var x = Left;
        foreach (var (_, name, color) in lines)
        {
            Add(text, $"<rect x=\"{x}\" y=\"{Height + 2}\" width=\"10\" height=\"10\" fill=\"{color}\"/><text x=\"{x + 16}\" y=\"{Height + 11}\">{name}</text>");
            x += 180;
        }

        text.Append("</svg>\n");
    }

    private static string Time(double seconds) => seconds >= 1
        ? string.Create(CultureInfo.InvariantCulture, $"{seconds:0} s")
        : string.Create(CultureInfo.InvariantCulture, $"{1000 * seconds:0.###} ms");

    private static void Add(StringBuilder text, FormattableString part) => text.Append(part.ToString(CultureInfo.InvariantCulture));

    /// <summary>Whole decades around the values.</summary>
    private sealed class LogAxis
    {
        private readonly double _low;
        private readonly double _high;

        public LogAxis(double least, double most)
        {
            _low = Math.Floor(Math.Log10(least));
            _high = Math.Max(_low + 1, Math.Ceiling(Math.Log10(most)));
        }

        /// <summary>0 to 1.</summary>
        public double Place(double value) => (Math.Log10(value) - _low) / (_high - _low);

        public IEnumerable<double> Decades() => Enumerable.Range((int)_low, (int)(_high - _low) + 1).Select(power => Math.Pow(10, power));
    }
}
