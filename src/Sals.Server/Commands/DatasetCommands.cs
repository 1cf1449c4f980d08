using System.CommandLine;
using Sals.Engine.Evaluation.Datasets;

namespace Sals.Server.Commands;

/// <summary>sals eval longbench, gsm8k and coqa: published data sets from local files.</summary>
internal static class DatasetCommands
{
    private static readonly string[] Gsm8kTasks = ["gsm8k"];
    private static readonly string[] CoqaTasks = ["coqa"];

    public static Command LongBench()
    {
        var subsets = new Option<string>("--subsets") { HelpName = "LIST", DefaultValueFactory = _ => string.Join(',', Sals.Engine.Evaluation.Datasets.LongBench.Subsets), Description = "Subsets." };
        var length = Length(3500, "Tokens of a prompt, without its answer; the middle of longer ones is left out (the paper: 3,500 for LLaMA-2, 31,500 for Mistral).");
        return Create(
            "longbench", "LongBench's 16 English subsets with the official metrics (folder with SUBSET.jsonl, dataset2prompt.json, dataset2maxlen.json).", [subsets], length,
            (parsed, folder, _) =>
            {
                var names = parsed.GetValue(subsets)!.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries);
                return (names, Engine.Evaluation.Datasets.LongBench.Read(folder, names), names.Length == Engine.Evaluation.Datasets.LongBench.Subsets.Length ? Engine.Evaluation.Datasets.LongBench.Categories : []);
            },
            ofPrompt: true);
    }

    public static Command Gsm8k()
    {
        var shots = new Option<int>("--shots") { HelpName = "N", DefaultValueFactory = _ => 5, Description = "Worked examples before each question; 0 = none." };
        return Create(
            "gsm8k", "Word problems: strict / flexible match as lm-evaluation-harness scores them (folder with test.jsonl, train.jsonl).", [shots], Length(4096, "Longest prompt and answer, tokens."),
            (parsed, folder, seed) => (Gsm8kTasks, Engine.Evaluation.Datasets.Gsm8k.Read(folder, parsed.GetValue(shots), seed), []));
    }

    public static Command Coqa() => Create(
        "coqa", "Questions about stories: F1 / exact match (folder with coqa-dev-v1.0.json).", [], Length(4096, "Longest prompt and answer, tokens."),
        (_, folder, _) => (CoqaTasks, Engine.Evaluation.Datasets.Coqa.Read(folder), []));

    private static Option<int> Length(int standard, string description) => EvalOptions.Count("--length", standard, description);

    private static Command Create(
        string name, string description, Option[] own, Option<int> length,
        Func<ParseResult, string, int, (string[] Tasks, List<DatasetQuestion> Questions, IReadOnlyList<(string, string[])> Categories)> read,
        bool ofPrompt = false)
    {
        var data = new Option<string>("--data") { HelpName = "DIR", Required = true, Description = "Folder of the published files." };
        var limit = new Option<int?>("--limit") { HelpName = "N", Description = "Only the first questions of each subset." };
        var command = new Command(name, description) { data, length, limit };
        foreach (var option in own)
        {
            command.Options.Add(option);
        }

        var suite = new EvalSuite();
        suite.AddTo(command);
        command.SetAction((parsed, stop) => EvalCommand.RunAsync(() =>
        {
            // read before a model is loaded: a missing file is said at once
            var (tasks, questions, categories) = read(parsed, parsed.GetValue(data)!, 1);
            var asked = questions.Where(question => question.Number < (parsed.GetValue(limit) ?? int.MaxValue)).ToDictionary(question => new EvalItemId(question.Task, 0, question.Number));
            int Most(int answer) => parsed.GetValue(length) + (ofPrompt ? answer : 0);
            return suite.RunAsync(parsed, Most(questions.Max(question => question.MaxTokens)), "--length", (_, session) => new EvalQuestions(
                name,
                [.. asked.Keys.OrderBy(id => id.Number)],
                id => asked[id].ToItem(Most(asked[id].MaxTokens), session.Plain, message => session.Render(message, ""), ids => session.Tokenizer.Decode(ids, skipSpecialTokens: false)),
                tasks,
                task => asked.Values.First(question => question.Task == task).Metric,
                [])
            { Categories = categories }, stop);
        }));
        return command;
    }
}
