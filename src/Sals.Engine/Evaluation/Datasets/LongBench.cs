using System.Text.Json;
using System.Text.Json.Nodes;

namespace Sals.Engine.Evaluation.Datasets;

/// <summary>
/// LongBench's English subsets (arXiv 2308.14508) as published: SUBSET.jsonl with input, context, answers and all_classes, and the project's dataset2prompt.json and
/// dataset2maxlen.json, all in one folder or in its folders data and config.
/// </summary>
public static class LongBench
{
    /// <summary>The six categories of which the paper's average is the plain mean.</summary>
    public static readonly IReadOnlyList<(string Name, string[] Subsets)> Categories =
    [
        ("single-document QA", ["narrativeqa", "qasper", "multifieldqa_en"]),
        ("multi-document QA", ["hotpotqa", "2wikimqa", "musique"]),
        ("summarization", ["gov_report", "qmsum", "multi_news"]),
        ("few-shot", ["trec", "triviaqa", "samsum"]),
        ("synthetic", ["passage_count", "passage_retrieval_en"]),
        ("code", ["lcc", "repobench-p"]),
    ];

    public static string[] Subsets => [.. Categories.SelectMany(category => category.Subsets)];

    /// <exception cref="ArgumentException">No such subset.</exception>
    public static string MetricOf(string subset) => subset switch
    {
        "narrativeqa" or "qasper" or "multifieldqa_en" or "hotpotqa" or "2wikimqa" or "musique" or "triviaqa" => "qa_f1",
        "gov_report" or "qmsum" or "multi_news" or "samsum" => "rouge_l",
        "trec" => "classification",
        "passage_count" => "count",
        "passage_retrieval_en" => "retrieval",
        "lcc" or "repobench-p" => "code_sim",
        _ => throw new ArgumentException($"LongBench has no English subset {subset}; there are {string.Join(", ", Subsets)}.", nameof(subset)),
    };

    /// <exception cref="EvalException">A file is missing or is not in the published format.</exception>
    public static List<DatasetQuestion> Read(string folder, IEnumerable<string> subsets)
    {
        var prompts = Config(folder, "dataset2prompt.json");
        var lengths = Config(folder, "dataset2maxlen.json");
        List<DatasetQuestion> questions = [];
        foreach (var subset in subsets)
        {
            var metric = MetricOf(subset);
            var path = DatasetFile.Find(folder, $"{subset}.jsonl", "LongBench", "data");
            var prompt = prompts[subset]?.GetValue<string>() ?? throw new EvalException($"{folder}: dataset2prompt.json has no {subset}.");
            var tokens = lengths[subset]?.GetValue<int>() ?? throw new EvalException($"{folder}: dataset2maxlen.json has no {subset}.");
            questions.AddRange(DatasetFile.Lines(path, (line, number) => new DatasetQuestion
            {
                Task = subset,
                Number = number,
                Prompt = prompt.Replace("{context}", DatasetFile.Text(line, "context"), StringComparison.Ordinal).Replace("{input}", DatasetFile.Text(line, "input"), StringComparison.Ordinal),
                AsMessage = subset is not ("trec" or "triviaqa" or "samsum" or "lcc" or "repobench-p"),
                Answers = [.. line.GetProperty("answers").EnumerateArray().Select(answer => answer.GetString()!)],
                Metric = metric,
                Classes = line.TryGetProperty("all_classes", out var classes) && classes.ValueKind == JsonValueKind.Array ? [.. classes.EnumerateArray().Select(name => name.GetString()!)] : [],
                MaxTokens = tokens,
                // few-shot answers are their first line
                CutAt = subset is "trec" or "triviaqa" or "samsum" ? ["\n"] : [],
            }));
        }

        return questions;
    }

    private static JsonObject Config(string folder, string file)
    {
        var path = DatasetFile.Find(folder, file, "LongBench", "config");
        try
        {
            return JsonNode.Parse(File.ReadAllText(path)) as JsonObject ?? throw new JsonException("no object");
        }
        catch (JsonException e)
        {
            throw new EvalException($"{path}: expected an object of subsets: {e.Message}");
        }
    }
}
