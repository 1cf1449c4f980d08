namespace Sals.Engine.Evaluation.Tasks;

/// <summary>All tasks by name: RULER's thirteen, and those that sals-tiny was trained on.</summary>
public sealed class TaskSet
{
    /// <summary>In RULER's order.</summary>
    public static readonly string[] Ruler =
    [
        "niah_single_1", "niah_single_2", "niah_single_3", "niah_multikey_1", "niah_multikey_2", "niah_multikey_3", "niah_multivalue", "niah_multiquery",
        "vt", "cwe", "fwe", "qa_1", "qa_2",
    ];

    /// <summary>With the wordings of sals-tiny's recipe.</summary>
    public static readonly string[] Recipe =
        ["single", "single_noise", "multikey", "multivalue", "multiquery", "lines", "kv_uuid", "copy", "glossary", "record"];

    private readonly EvalText _text;
    private readonly string? _dataFolder;

    /// <param name="text">Haystack of the tasks that hide something in real text.</param>
    /// <param name="dataFolder">Where the files of qa_1, qa_2, glossary and record lie; null = none.</param>
    public TaskSet(EvalText text, string? dataFolder) => (_text, _dataFolder) = (text, dataFolder);

    /// <param name="list">Names separated by commas; "ruler", "recipe" and "all" stand for their tasks, those without a data file left out.</param>
    /// <param name="leftOut">Told of every task that such a word stands for and whose data is missing.</param>
    /// <exception cref="EvalException">A name is unknown, or a task that was named needs a file that is missing.</exception>
    public EvalTask[] Parse(string list, Action<string> leftOut)
    {
        List<EvalTask> tasks = [];
        foreach (var name in list.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            string[]? group = name switch { "ruler" => Ruler, "recipe" => Recipe, "all" => [.. Ruler, .. Recipe], _ => null };
            foreach (var member in group ?? [name])
            {
                try
                {
                    tasks.Add(Create(member));
                }
                catch (EvalException e) when (group is not null)
                {
                    leftOut($"{member} is left out: {e.Message}");
                }
            }
        }

        return tasks.Count > 0 ? [.. tasks.DistinctBy(task => task.Name)] : throw new EvalException($"--tasks {list}: expected at least one task whose data is there.");
    }

    private EvalTask Create(string name) => name switch
    {
        "niah_single_1" => new RulerNeedles(name, RulerHaystack.Noise, KeyKind.Words, KeyKind.Numbers, 1, 1, 1, _text),
        "niah_single_2" => new RulerNeedles(name, RulerHaystack.Essay, KeyKind.Words, KeyKind.Numbers, 1, 1, 1, _text),
        "niah_single_3" => new RulerNeedles(name, RulerHaystack.Essay, KeyKind.Words, KeyKind.Uuids, 1, 1, 1, _text),
        "niah_multikey_1" => new RulerNeedles(name, RulerHaystack.Essay, KeyKind.Words, KeyKind.Numbers, 4, 1, 1, _text),
        "niah_multikey_2" => new RulerNeedles(name, RulerHaystack.Needles, KeyKind.Words, KeyKind.Numbers, 1, 1, 1, _text),
        "niah_multikey_3" => new RulerNeedles(name, RulerHaystack.Needles, KeyKind.Uuids, KeyKind.Uuids, 1, 1, 1, _text),
        "niah_multivalue" => new RulerNeedles(name, RulerHaystack.Essay, KeyKind.Words, KeyKind.Numbers, 1, 4, 1, _text),
        "niah_multiquery" => new RulerNeedles(name, RulerHaystack.Essay, KeyKind.Words, KeyKind.Numbers, 4, 1, 4, _text),
        "vt" => new VariableTracking(),
        "cwe" => new CommonWords(_text),
        "fwe" => new FrequentWords(),
        "qa_1" => new DocumentQuestions(name, QuestionFile.Squad(File(name, "squad.json"))),
        "qa_2" => new DocumentQuestions(name, QuestionFile.HotpotQa(File(name, "hotpotqa.json"))),
        "single" => new RecipeNeedles(name, 1, 1, 1, noise: false, _text),
        "single_noise" => new RecipeNeedles(name, 1, 1, 1, noise: true, _text),
        "multikey" => new RecipeNeedles(name, 16, 1, 1, noise: false, _text),
        "multivalue" => new RecipeNeedles(name, 4, 4, 1, noise: false, _text),
        "multiquery" => new RecipeNeedles(name, 8, 1, 3, noise: false, _text),
        "lines" => new RecipeLines(name, uuids: false),
        "kv_uuid" => new RecipeLines(name, uuids: true),
        "copy" => new RecipeCopy(_text),
        "glossary" => new RecipeGlossary(RecipeData.Glossary(File(name, "glossary.tsv"))),
        "record" => new RecipeRecord(RecipeData.Records(File(name, "records.txt"))),
        _ => throw new EvalException($"--tasks {name}: no such task; there are {string.Join(", ", Ruler.Concat(Recipe))}, ruler, recipe and all."),
    };

    private string File(string task, string file)
    {
        var path = _dataFolder is null ? null : Path.Combine(_dataFolder, file);
        return path is not null && System.IO.File.Exists(path)
            ? path
            : throw new EvalException($"task {task} needs {file}, which is {(path is null ? "looked for in the folder that --data names" : $"not in {_dataFolder}")}.");
    }
}
