using System.Globalization;
using System.Text;
using System.Text.Json;

namespace Sals.Engine.Evaluation.Datasets;

/// <summary>
/// CoQA (arXiv 1808.07042) as lm-evaluation-harness asks it: coqa-dev-v1.0.json, the last question of every story after the story and the questions and answers before
/// it; the first line of what is said counts. Exact match and F1, each different answer of several people in turn left out.
/// </summary>
public static class Coqa
{
    /// <exception cref="EvalException">The file is missing or is not in the published format.</exception>
    public static List<DatasetQuestion> Read(string folder)
    {
        var path = DatasetFile.Find(folder, "coqa-dev-v1.0.json", "CoQA");
        try
        {
            using var document = JsonDocument.Parse(File.ReadAllText(path));
            return [.. document.RootElement.GetProperty("data").EnumerateArray().Select((story, number) => Last(story, number))];
        }
        catch (Exception e) when (e is JsonException or InvalidOperationException or KeyNotFoundException or FormatException or IndexOutOfRangeException)
        {
            throw new EvalException($"{path}: not the data set's published format: {e.Message}");
        }
    }

    private static DatasetQuestion Last(JsonElement story, int number)
    {
        string[] questions = [.. story.GetProperty("questions").EnumerateArray().Select(turn => DatasetFile.Text(turn, "input_text"))];
        string[] answers = [.. story.GetProperty("answers").EnumerateArray().Select(turn => DatasetFile.Text(turn, "input_text"))];
        var prompt = new StringBuilder(DatasetFile.Text(story, "story")).Append("\n\n");
        for (var turn = 0; turn < questions.Length; turn++)
        {
            prompt.Append(CultureInfo.InvariantCulture, $"Q: {questions[turn]}\n\n").Append(turn < questions.Length - 1 ? $"A: {answers[turn]}\n\n" : "A:");
        }

        List<string> references = [answers[questions.Length - 1]];
        if (story.TryGetProperty("additional_answers", out var more))
        {
            references.AddRange(more.EnumerateObject().Select(person => DatasetFile.Text(person.Value[questions.Length - 1], "input_text")));
            references = [.. references.DistinctBy(answer => answer.ToLowerInvariant())];
        }

        return new DatasetQuestion
        {
            Task = "coqa",
            Number = number,
            Prompt = prompt.ToString(),
            AsMessage = false,
            Answers = [.. references],
            Metric = "coqa_f1",
            SecondMetric = "coqa_em",
            MaxTokens = 64,
            CutAt = ["\n"],
        };
    }
}
