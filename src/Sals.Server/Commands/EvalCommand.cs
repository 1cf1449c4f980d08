using System.CommandLine;
using System.Text.Json.Serialization;
using Sals.Engine.Evaluation;
using Sals.Engine.Evaluation.Tasks;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Text;
using Sals.Engine.Text.Jinja;
using Sals.Server.Api;
using Sals.Server.Hosting;

namespace Sals.Server.Commands;

/// <summary>sals eval: what a compressed cache loses against the exact one, on the same prompts.</summary>
public static class EvalCommand
{
    internal const int StoppedExitCode = 130;

    public static Command Create() => new("eval", "Measure what compressed caches lose: long-context tasks and decode perplexity.") { Ruler(), DatasetCommands.LongBench(), DatasetCommands.Gsm8k(), DatasetCommands.Coqa(), PerplexityCommand.Create() };

    private static Command Ruler()
    {
        var tasks = new Option<string>("--tasks")
        {
            HelpName = "LIST",
            DefaultValueFactory = _ => "all",
            Description = $"Tasks, or ruler ({string.Join(", ", TaskSet.Ruler)}), recipe ({string.Join(", ", TaskSet.Recipe)}) or all.",
        };
        var lengths = new Option<string>("--lengths") { HelpName = "LIST", DefaultValueFactory = _ => "1024,2048,4096", Description = "Tokens of prompt and answer." };
        var samples = EvalOptions.Count("--samples", 100, "Prompts of each task and length.");
        var data = new Option<string?>("--data") { HelpName = "DIR", Description = "Folder of squad.json (qa_1), hotpotqa.json (qa_2), glossary.tsv and records.txt; not set = the bundled two last ones." };
        var command = new Command("ruler", "RULER's thirteen tasks and those that the embedded model was trained on, at any length.") { tasks, lengths, samples, data };
        var suite = new EvalSuite();
        suite.AddTo(command);
        command.SetAction((parsed, stop) => RunAsync(() =>
        {
            var counts = EvalOptions.Lengths(parsed.GetValue(lengths)!);
            return suite.RunAsync(parsed, counts.Max(), "--lengths", (setting, session) =>
            {
                var folder = parsed.GetValue(data) ?? Path.Combine(AppContext.BaseDirectory, "EvalText");
                var chosen = new TaskSet(setting.Text, folder).Parse(parsed.GetValue(tasks)!, Console.Error.WriteLine).ToDictionary(task => task.Name);
                var prompts = new TaskPrompts(session.Tokenizer, session.Render);
                return new EvalQuestions(
                    "Long-context tasks",
                    [.. Enumerable.Range(0, parsed.GetValue(samples)).SelectMany(number => counts.SelectMany(length => chosen.Keys.Select(task => new EvalItemId(task, length, number))))],
                    id => prompts.Draw(chosen[id.Task], id.Length, setting.Seed, id.Number),
                    [.. chosen.Keys],
                    task => chosen[task].Metric,
                    [.. chosen.Values.Where(task => task.IsMultiKey).Select(task => task.Name)]);
            }, stop);
        }));
        return command;
    }

    internal static async Task<int> RunAsync(Func<Task<int>> body)
    {
        try
        {
            return await body();
        }
        catch (OperationCanceledException)
        {
            await Console.Error.WriteLineAsync("Stopped.");
            return StoppedExitCode;
        }
        catch (EvalException e)
        {
            await Console.Error.WriteLineAsync($"error: {e.Message}");
            return ServerRun.FailedExitCode;
        }
        catch (AggregateException e) when (e.InnerExceptions[0] is EvalException)
        {
            await Console.Error.WriteLineAsync($"error: {e.InnerExceptions[0].Message}");
            return ServerRun.FailedExitCode;
        }
        catch (Exception e) when (e is ModelLoadException or TokenizerException or TemplateException or SettingException or ApiException or LatentSpecException
            or ArgumentException or IOException or UnauthorizedAccessException)
        {
            await Console.Error.WriteLineAsync($"error: {e.Message}");
            return CommandSettings.InvalidExitCode;
        }
    }

    /// <summary>Says what makes rows unfit for use; gives the exit code.</summary>
    internal static int Problems(IEnumerable<(string Row, CacheUse Use)> rows)
    {
        var bad = rows.Where(row => row.Use.Problem is not null).ToList();
        foreach (var (row, use) in bad)
        {
            Console.Error.WriteLine($"error: {row}: {use.Problem}");
        }

        return bad.Count == 0 ? 0 : ServerRun.FailedExitCode;
    }
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true, NumberHandling = JsonNumberHandling.AllowNamedFloatingPointLiterals)]
[JsonSerializable(typeof(SuiteReport))]
[JsonSerializable(typeof(PerplexityReport))]
internal sealed partial class EvalJson : JsonSerializerContext;

/// <summary>One line a prompt.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(EvalItem))]
internal sealed partial class PromptJson : JsonSerializerContext;
