using Sals.Engine.Evaluation.Reports;
using Sals.Engine.Evaluation.Results;
using Xunit;

namespace Sals.Engine.Tests.Evaluation;

public class ScoreTableTests
{
    [Fact]
    public void Paired_intervals_of_right_or_wrong_answers_are_Bonett_and_Prices()
    {
        // 100 pairs, 8 won, 2 lost: (9/102, 3/102), difference 6/102 ± z sqrt((12/102 - (6/102)^2) / 102)
        double[] one = [.. Enumerable.Repeat(1.0, 8), .. Enumerable.Repeat(0.0, 2), .. Enumerable.Repeat(1.0, 90)];
        double[] other = [.. Enumerable.Repeat(0.0, 8), .. Enumerable.Repeat(1.0, 2), .. Enumerable.Repeat(1.0, 90)];
        var difference = PairedDifference.Of(one, other, binary: true);
        var error = Math.Sqrt(((12.0 / 102) - (6.0 / 102 * 6 / 102)) / 102);
        Assert.Equal(0.06, difference.Mean, 1e-12);
        Assert.Equal(error, difference.StandardError, 1e-12);
        Assert.Equal((6.0 / 102) - (1.959963984540054 * error), difference.Low, 1e-12);

        var same = PairedDifference.Of(one, one, binary: true);
        Assert.Equal(0, same.Mean);
        Assert.InRange(same.High, 0.01, 0.04);
    }

    [Fact]
    public void Table_pairs_prompts_and_averages_what_the_first_cache_solves()
    {
        List<EvalResult> results = [];
        for (var i = 0; i < 10; i++)
        {
            results.Add(Result("dense", "easy", i, 1));
            results.Add(Result("small", "easy", i, i < 8 ? 1 : 0));
            results.Add(Result("dense", "hard", i, i < 5 ? 1 : 0));
            results.Add(Result("small", "hard", i, i < 5 ? 1 : 0));
            results.Add(Result("dense", "parts", i, 1));
            results.Add(Result("small", "parts", i, i % 2 == 0 ? 1 : 0.5));
        }

        var table = ScoreTable.Of(results, ["dense", "small"], ["easy", "hard", "parts"], task => task == "parts" ? "match_all" : "exact");
        Assert.Equal(["easy", "parts"], table.Solved(512));
        var cell = table.Cell("easy", 512, "small")!;
        Assert.Equal((10, 0.8), (cell.Count, cell.Score));
        Assert.Equal(-0.2, cell.Difference!.Value.Mean, 1e-12);
        Assert.Null(table.Cell("easy", 512, "dense")!.Difference);
        Assert.Equal(-0.25, table.Cell("parts", 512, "small")!.Difference!.Value.Mean, 1e-12);
        var mean = table.Summary("small", 512, table.Solved(512))!;
        Assert.Equal(0.775, mean.Score, 1e-12);
        Assert.Equal(-0.225, mean.Difference!.Value.Mean, 1e-12);
        Assert.Equal(
            Math.Sqrt(Math.Pow(cell.Difference.Value.StandardError, 2) + Math.Pow(table.Cell("parts", 512, "small")!.Difference!.Value.StandardError, 2)) / 2,
            mean.Difference!.Value.StandardError, 1e-12);

        var report = new ScoreReport("T", ["fact"], table, [new CacheRow("dense", "dense", null, null), new CacheRow("small", "s", null, 12)], ["easy"]);
        var lines = report.Markdown().Split('\n').Where(line => line.StartsWith('|')).ToArray();
        Assert.Contains("| easy | 10 | 100.0 [72.2, 100.0] | 80.0 [49.0, 94.3] | -20.0 ", lines[2]);
        Assert.Equal(2, lines.Select(line => line.Count(c => c == '|')).Distinct().Count());
        Assert.Contains("<td>easy</td>", report.Html());
    }

    private static EvalResult Result(string cache, string task, int number, double score) => new()
    {
        Cache = cache,
        Task = task,
        Length = 512,
        Number = number,
        Score = score,
        Answer = "",
        PromptTokens = 500,
        MaxLength = 512,
        GeneratedTokens = 3,
    };
}
