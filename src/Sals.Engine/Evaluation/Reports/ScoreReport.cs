using System.Globalization;
using System.Text;
using Sals.Engine.Evaluation.Results;

namespace Sals.Engine.Evaluation.Reports;

/// <summary>Tables of an evaluation in words that Markdown and HTML share.</summary>
/// <param name="Title">What was evaluated.</param>
/// <param name="Facts">Model, device, seed, text; a sentence each.</param>
/// <param name="MultiKey">Tasks in which several keys or values must be told apart.</param>
public sealed record ScoreReport(string Title, IReadOnlyList<string> Facts, ScoreTable Table, IReadOnlyList<CacheRow> Caches, IReadOnlyList<string> MultiKey)
{
    /// <summary>Categories whose means, and the plain mean of those, are shown.</summary>
    public IReadOnlyList<(string Name, string[] Tasks)> Categories { get; init; } = [];

    private const string Legend =
        "Scores are per cent; brackets hold 95% intervals (Wilson's for right-or-wrong tasks, normal ones for shares). Differences are against the first cache on the same prompts, with 95% intervals (Bonett and Price's for right-or-wrong tasks). Solved tasks are those on which the first cache reaches 90% at that length. "
        + "Bytes a token: pages held by the finished sequences, window, sinks, dense layers, reserved pages and page rounding included. Reads: bytes of the caches that a decode step reads, over those of the dense cache. One layer: a compressed layer alone with 16-bit numbers, as the paper counts. Sparse: share of all (layer, decoded token) pairs that read compressed pages; selected: that chose among them. "
        + "Tokens/s are prompt and generated tokens over the time of this evaluation, not a benchmark.";

    public string Markdown()
    {
        var text = new StringBuilder();
        text.Append("# ").Append(Title).Append("\n\n").AppendJoin('\n', Facts.Select(fact => $"- {fact}")).Append("\n\n");
        foreach (var (heading, header, rows) in Tables())
        {
            text.Append("## ").Append(heading).Append("\n\n");
            Row(text, header);
            Row(text, [.. header.Select(_ => "---")]);
            foreach (var row in rows)
            {
                Row(text, row);
            }

            text.Append('\n');
        }

        return text.Append(Legend).Append('\n').ToString();
    }

    public string Html()
    {
        var html = new HtmlReport(Title);
        foreach (var fact in Facts)
        {
            html.Paragraph(fact);
        }

        if (Table.Lengths.Count > 1)
        {
            html.Heading("Mean over tasks by length").Plots(Plot("All tasks", Table.Tasks), Plot("Tasks with several keys or values", MultiKey));
        }

        foreach (var (heading, header, rows) in Tables())
        {
            html.Heading(heading).Table(header, rows);
        }

        return html.Paragraph(Legend).ToString();
    }

    private SvgPlot Plot(string title, IReadOnlyList<string> tasks) => new()
    {
        Title = title,
        XLabel = "tokens",
        YLabel = "score, %",
        LogX = true,
        XTicks = [.. Table.Lengths.Select(length => (double)length)],
        YRange = (Math.Min(90, 10 * Math.Floor(10 * Table.Cells.Where(cell => tasks.Contains(cell.Task)).Select(cell => cell.Score).DefaultIfEmpty(1).Min())), 100),
        Series = [.. Table.Caches.Select(cache => new PlotSeries(
            cache, [.. Table.Lengths.Select(length => (X: (double)length, Summary: Table.Summary(cache, length, tasks))).Where(point => point.Summary is not null).Select(point => (point.X, 100 * point.Summary!.Score))]))],
    };

    private IEnumerable<(string Heading, string[] Header, List<string[]> Rows)> Tables()
    {
        foreach (var length in Table.Lengths)
        {
            List<string[]> rows = [];
            foreach (var task in Table.Tasks)
            {
                ScoreCell?[] cells = [.. Table.Caches.Select(cache => Table.Cell(task, length, cache))];
                if (cells.Any(cell => cell is not null))
                {
                    rows.Add([task, Number($"{cells.Max(cell => cell?.Count ?? 0)}"), .. cells.SelectMany((cell, i) => Score(cell, i))]);
                }
            }

            var solved = Table.Solved(length);
            AddMean(rows, $"mean of the {solved.Count} solved", length, solved);
            string[] multi = [.. solved.Intersect(MultiKey)];
            AddMean(rows, $"mean of the {multi.Length} solved with several keys", length, multi);
            AddMean(rows, "mean of all", length, Table.Tasks);
            foreach (var (name, tasks) in Categories)
            {
                AddMean(rows, name, length, tasks);
            }

            if (Categories.Count > 0)
            {
                rows.Add(["mean of the categories", "", .. Table.Caches.SelectMany((cache, i) => CategoryMean(cache, i, length))]);
            }

            yield return (length > 0 ? Number($"{length:#,0} tokens") : "Scores", ["task", "n", .. Table.Caches.SelectMany((cache, i) => i == 0 ? new[] { cache } : [cache, "difference"])], rows);
        }

        yield return (
            "Caches",
            ["cache", "bytes/token", "of dense", "layer of dense", "reads of dense", "layer reads", "sparse %", "selected %", "tokens/s", "settings"],
            [.. Caches.Select(row => row.Use is { } use
                ? new[]
                {
                    row.Cache, Number($"{use.MeasuredBytesPerToken:#,0}"), Number($"{use.ModelRatio:0.000}"), Number($"{use.LayerRatio16:0.000}"), Number($"{use.AccessRatio:0.000}"), Number($"{use.LayerAccessRatio16:0.000}"),
                    Percent(use.SparsePairShare), Percent(use.ScoredPairShare), row.TokensPerSecond is { } speed ? Number($"{speed:#,0}") : "", row.Settings,
                }
                : [row.Cache, "", "", "", "", "", "", "", "", row.Settings])]);
    }

    private string[] CategoryMean(string cache, int column, int length)
    {
        double[] means = [.. Categories.Select(category => Table.Summary(cache, length, category.Tasks)).OfType<ScoreSummary>().Select(summary => summary.Score)];
        var mean = means.Length == Categories.Count ? Percent(means.Average()) : "";
        return column == 0 ? [mean] : [mean, ""];
    }

    private void AddMean(List<string[]> rows, string name, int length, IReadOnlyList<string> tasks)
    {
        if (tasks.Count > 1 || Categories.Count > 0)
        {
            rows.Add([name, "", .. Table.Caches.SelectMany((cache, i) => Table.Summary(cache, length, tasks) is { } mean
                ? i == 0 ? new[] { Percent(mean.Score) } : [Percent(mean.Score), mean.Difference is { } difference ? Signed(difference) : ""]
                : i == 0 ? [""] : ["", ""])]);
        }
    }

    private static string[] Score(ScoreCell? cell, int column)
    {
        if (cell is null)
        {
            return column == 0 ? [""] : ["", ""];
        }

        var second = cell.SecondScore is { } other ? $" / {Percent(other)}" : "";
        var score = $"{Percent(cell.Score)}{second} [{Percent(cell.Low)}, {Percent(cell.High)}]";
        return column == 0 ? [score] : [score, cell.Difference is { } difference ? Signed(difference) : ""];
    }

    private static string Signed(PairedDifference difference) => Number(
        $"{100 * difference.Mean:+0.0;-0.0;0.0} [{100 * difference.Low:+0.0;-0.0;0.0}, {100 * difference.High:+0.0;-0.0;0.0}]");

    private static void Row(StringBuilder text, IReadOnlyList<string> cells) => text.Append("| ").AppendJoin(" | ", cells).Append(" |\n");

    private static string Percent(double share) => (100 * share).ToString("0.0", CultureInfo.InvariantCulture);

    private static string Number(FormattableString number) => number.ToString(CultureInfo.InvariantCulture);
}
