namespace Sals.Engine.Evaluation.Datasets;

/// <summary>
/// GSM8K (arXiv 2110.14168) as lm-evaluation-harness asks it: test.jsonl with question and answer, after worked examples from train.jsonl. Strict takes the number
/// behind ####, flexible the last number.
/// </summary>
public static class Gsm8k
{
    /// <param name="shots">Worked examples before each question; 0 needs no train.jsonl.</param>
    /// <param name="seed">Of the choice of examples, which are the same for all questions.</param>
    /// <exception cref="EvalException">A file is missing or is not in the published format.</exception>
    public static List<DatasetQuestion> Read(string folder, int shots, int seed)
    {
        var examples = "";
        if (shots > 0)
        {
            var all = DatasetFile.Lines(DatasetFile.Find(folder, "train.jsonl", "GSM8K"), (line, _) => $"Question: {DatasetFile.Text(line, "question")}\nAnswer: {DatasetFile.Text(line, "answer")}\n\n").ToArray();
            new Random(seed).Shuffle(all);
            examples = string.Concat(all.Take(shots));
        }

        return DatasetFile.Lines(DatasetFile.Find(folder, "test.jsonl", "GSM8K"), (line, number) => new DatasetQuestion
        {
            Task = "gsm8k",
            Number = number,
            Prompt = $"{examples}Question: {DatasetFile.Text(line, "question")}\nAnswer:",
            AsMessage = false,
            Answers = [DatasetFile.Text(line, "answer").Split("#### ") is [_, var answer] ? answer.Trim() : throw new FormatException("the answer has no ####")],
            Metric = "gsm8k_strict",
            SecondMetric = "gsm8k_flexible",
            MaxTokens = 256,
            CutAt = ["Question:"],
        });
    }
}
