using System.Globalization;
using System.Net;
using System.Text;

namespace Sals.Engine.Evaluation.Reports;

/// <param name="Name">In the legend.</param>
/// <param name="Points">(x, y) in order of x; what is not finite is left out.</param>
/// <param name="Errors">Half-width of an error bar for each point; null = none.</param>
public sealed record PlotSeries(string Name, IReadOnlyList<(double X, double Y)> Points, IReadOnlyList<double>? Errors = null);

/// <summary>Line plots as SVG, without script or outside resource, so that a report is one file.</summary>
public sealed class SvgPlot
{
    private const double Left = 76, Right = 16, Top = 34, Bottom = 46, LegendLine = 18;

    /// <summary>Told apart without red and green alone, and dark enough on white (after Okabe and Ito).</summary>
    private static readonly string[] Colours = ["#0072b2", "#d55e00", "#009e73", "#b0589a", "#8a6d00", "#3b3b3b", "#56a0c8", "#a03060", "#5f7f2f", "#7060c0"];

    private static readonly string[] Dashes = ["", "6 3", "2 3"];

    public required string Title { get; init; }

    public required string XLabel { get; init; }

    public required string YLabel { get; init; }

    public required IReadOnlyList<PlotSeries> Series { get; init; }

    public double Width { get; init; } = 560;

    public double Height { get; init; } = 320;

    /// <summary>Powers of two are ticks when x is logarithmic, powers of ten when y is.</summary>
    public bool LogX { get; init; }

    public bool LogY { get; init; }

    /// <summary>Fixed ends of the axis; null = of the data.</summary>
    public (double Low, double High)? YRange { get; init; }

    /// <summary>Whole numbers at which x has ticks; null = round ones.</summary>
    public IReadOnlyList<double>? XTicks { get; init; }

    public override string ToString()
    {
        var all = Series.SelectMany(series => series.Points).Where(Drawn).ToList();
        if (all.Count == 0)
        {
            all = [(1, 1)];
        }

        var columns = Math.Max(1, (int)((Width - Left) / Math.Max(90, 30 + (7.2 * Series.Max(series => series.Name.Length)))));
        var legend = LegendLine * ((Series.Count + columns - 1) / columns);
        var (x0, x1) = Range(all.Select(point => MapX(point.X)));
        var (y0, y1) = YRange is { } fixedRange ? (MapY(fixedRange.Low), MapY(fixedRange.High)) : Range(all.Select(point => MapY(point.Y)));
        var bottom = Height - Bottom - legend;
        double X(double x) => Left + ((MapX(x) - x0) / (x1 - x0) * (Width - Left - Right));
        double Y(double y) => bottom - ((Math.Clamp(MapY(y), y0, y1) - y0) / (y1 - y0) * (bottom - Top));

        var svg = new StringBuilder();
        Add(svg, $"<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {Width:0.#} {Height:0.#}\" width=\"{Width:0.#}\" height=\"{Height:0.#}\" role=\"img\" aria-label=\"{Escape(Title)}\" font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#222\">");
        Add(svg, $"<text x=\"{Left}\" y=\"18\" font-size=\"14\" font-weight=\"600\">{Escape(Title)}</text>");
        foreach (var tick in YTicks(y0, y1))
        {
            Add(svg, $"<line x1=\"{Left}\" x2=\"{Width - Right}\" y1=\"{Y(tick):0.#}\" y2=\"{Y(tick):0.#}\" stroke=\"#ddd\"/><text x=\"{Left - 6}\" y=\"{Y(tick) + 4:0.#}\" text-anchor=\"end\">{Label(tick)}</text>");
        }

        foreach (var tick in XTicks ?? Ticks(x0, x1, LogX, 2))
        {
            Add(svg, $"<line x1=\"{X(tick):0.#}\" x2=\"{X(tick):0.#}\" y1=\"{bottom}\" y2=\"{bottom + 4}\" stroke=\"#444\"/><text x=\"{X(tick):0.#}\" y=\"{bottom + 17}\" text-anchor=\"middle\">{Label(tick)}</text>");
        }

        Add(svg, $"<line x1=\"{Left}\" x2=\"{Width - Right}\" y1=\"{bottom}\" y2=\"{bottom}\" stroke=\"#444\"/><text x=\"{(Left + Width - Right) / 2:0.#}\" y=\"{bottom + 34}\" text-anchor=\"middle\">{Escape(XLabel)}</text>");
        Add(svg, $"<text transform=\"translate(14 {(Top + bottom) / 2:0.#}) rotate(-90)\" text-anchor=\"middle\">{Escape(YLabel)}</text>");
        for (var i = 0; i < Series.Count; i++)
        {
            var (name, points, errors) = Series[i];
            var colour = Colours[i % Colours.Length];
            var dash = Dashes[i / Colours.Length % Dashes.Length] is { Length: > 0 } pattern ? $" stroke-dasharray=\"{pattern}\"" : "";
            Add(svg, $"<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.8\"{dash} points=\"{string.Join(' ', points.Where(Drawn).Select(point => Text($"{X(point.X):0.#},{Y(point.Y):0.#}")))}\"/>");
            for (var p = 0; points.Count <= 16 && p < points.Count; p++)
            {
                if (Drawn(points[p]))
                {
                    var (x, y) = points[p];
                    Add(svg, $"<circle cx=\"{X(x):0.#}\" cy=\"{Y(y):0.#}\" r=\"2.6\" fill=\"{colour}\"><title>{Escape(name)}: {Label(x)}, {y:0.####}</title></circle>");
                    if (errors is not null)
                    {
                        Add(svg, $"<line x1=\"{X(x):0.#}\" x2=\"{X(x):0.#}\" y1=\"{Y(y - errors[p]):0.#}\" y2=\"{Y(y + errors[p]):0.#}\" stroke=\"{colour}\"/>");
                    }
                }
            }

            double lx = Left + (i % columns * (Width - Left) / columns), ly = Height - legend + (i / columns * LegendLine);
            Add(svg, $"<line x1=\"{lx:0.#}\" x2=\"{lx + 20:0.#}\" y1=\"{ly:0.#}\" y2=\"{ly:0.#}\" stroke=\"{colour}\" stroke-width=\"2.5\"{dash}/><text x=\"{lx + 25:0.#}\" y=\"{ly + 4:0.#}\">{Escape(name)}</text>");
        }

        return svg.Append("</svg>\n").ToString();
    }

    private bool Drawn((double X, double Y) point) => double.IsFinite(MapX(point.X)) && double.IsFinite(MapY(point.Y));

    private double MapX(double x) => LogX ? Math.Log2(x) : x;

    private double MapY(double y) => LogY ? Math.Log10(y) : y;

    private IEnumerable<double> YTicks(double low, double high) => Ticks(low, high, LogY, 10);

    /// <summary>Values of ticks between mapped ends.</summary>
    private static IEnumerable<double> Ticks(double low, double high, bool log, double power)
    {
        if (log)
        {
            var every = Math.Max(1, (int)Math.Ceiling((high - low) / 8));
            for (var e = (int)Math.Ceiling(low - 1e-9); e <= high + 1e-9; e += every)
            {
                yield return Math.Pow(power, e);
            }

            yield break;
        }

        var rough = (high - low) / 6;
        var unit = Math.Pow(10, Math.Floor(Math.Log10(rough)));
        var step = unit * (rough / unit) switch { <= 1 => 1, <= 2 => 2, <= 5 => 5, _ => 10 };
        for (var k = Math.Ceiling((low / step) - 1e-9); k * step <= high + (1e-9 * step); k++)
        {
            yield return k * step;
        }
    }

    private static (double Low, double High) Range(IEnumerable<double> values)
    {
        double[] all = [.. values];
        double low = all.Min(), high = all.Max();
        return high > low ? (low, high) : (low - 0.5, high + 0.5);
    }

    private static string Label(double value) => Math.Abs(value) switch
    {
        0 => "0",
        >= 1e6 or < 1e-3 => value.ToString("0.#e0", CultureInfo.InvariantCulture),
        >= 1000 => value.ToString("#,0.##", CultureInfo.InvariantCulture),
        _ => Math.Round(value, 6).ToString("0.####", CultureInfo.InvariantCulture),
    };

    private static string Escape(string text) => WebUtility.HtmlEncode(text);

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);

    private static void Add(StringBuilder svg, FormattableString text) => svg.Append(Text(text)).Append('\n');
}
