using System.CommandLine;
using System.CommandLine.Parsing;
using System.Globalization;
using System.Text.Json.Serialization;
using Sals.Engine.Evaluation;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Text;
using Sals.Engine.Text.Jinja;
using Sals.Server.Api;
using Sals.Server.Hosting;

namespace Sals.Server.Commands;

/// <summary>sals eval needle|perplexity: what a compressed cache loses against the exact one, on the same prompts.</summary>
public static class EvalCommand
{
    private const int StoppedExitCode = 130;

    public static Command Create() => new("eval", "Measure what compressed caches lose: retrieval from a long text, and decode perplexity.") { Needle(), Perplexity() };

    private static Command Needle()
    {
        var common = new EvalOptions();
        var lengths = new Option<string>("--lengths") { HelpName = "LIST", DefaultValueFactory = _ => "1024,2048,4096", Description = "Tokens of prompt and answer." };
        var samples = Count("--samples", 100, "Prompts of each length.");
        var command = new Command("needle", "Find one sentence in a long text: exact matches with each cache, at each length.") { lengths, samples };
        common.AddTo(command);
        command.SetAction((parsed, stop) => RunAsync(async () =>
        {
            var run = common.Read(parsed);
            var counts = Lengths(parsed.GetValue(lengths)!);
            Dictionary<int, EvalPrompt[]> prompts = [];
            List<NeedleRow> rows = [];
            await run.EachCacheAsync(counts.Max(), "--lengths", async session =>
            {
                if (prompts.Count == 0)
                {
                    var task = new NeedleTask(session.Tokenizer, run.Text, session.Render);
                    prompts = counts.ToDictionary(
                        length => length, length => Enumerable.Range(0, parsed.GetValue(samples)).AsParallel().AsOrdered().Select(i => task.Draw(length, run.Seed, i)).ToArray());
                }

                foreach (var length in counts)
                {
                    var asked = prompts[length];
                    var (answers, seconds) = await session.RunAsync($"{session.Cache} {length}", asked.Length, one => one.AnswerAsync(asked, session.Model.EndTokenIds, stop));
                    rows.Add(EvalScores.Needle(session.Cache, length, asked, answers, ids => session.Tokenizer.Decode(ids, skipSpecialTokens: false), seconds,
                        session.Use(answers, [.. asked.Select(prompt => prompt.Length)])));
                    run.Save(new NeedleReport(run.Setup, rows), EvalJson.Default.NeedleReport);
                }
            }, stop);
            Console.Write(EvalMarkdown.Needle(run.Setup, rows));
            return Problems(rows.Select(row => ($"{row.Cache} at {row.Length}", row.Use)));
        }));
        return command;
    }

    private static Command Perplexity()
    {
        var common = new EvalOptions();
        var windows = Count("--windows", 8, "Stretches of text.");
        var prompt = Count("--prompt", 1024, "Tokens of a window that are prefilled.");
        var tokens = Count("--tokens", 1024, "Tokens of a window that are forced and scored.");
        var command = new Command("perplexity", "Log-likelihood of held-out text, forced token by token through decode rows.") { windows, prompt, tokens };
        common.AddTo(command);
        command.SetAction((parsed, stop) => RunAsync(async () =>
        {
            var run = common.Read(parsed);
            var prefilled = parsed.GetValue(prompt);
            // one more: the first token behind the prompt is predicted by the prefill and does not count
            var length = prefilled + 1 + parsed.GetValue(tokens);
            List<PerplexityRow> rows = [];
            await run.EachCacheAsync(length, "--prompt and --tokens", async session =>
            {
                var texts = run.Text.Windows(session.Tokenizer, parsed.GetValue(windows), length);
                var (answers, seconds) = await session.RunAsync(session.Cache, texts.Length, one => one.ForceAsync(texts, prefilled, stop));
                rows.Add(EvalScores.Perplexity(session.Cache, prefilled, answers, seconds, session.Use(answers, [.. texts.Select(text => text.Length)])));
                run.Save(new PerplexityReport(run.Setup, rows), EvalJson.Default.PerplexityReport);
            }, stop);
            Console.Write(EvalMarkdown.Perplexity(run.Setup, rows));
            return Problems(rows.Select(row => (row.Cache, row.Use)));
        }));
        return command;
    }

    private static async Task<int> RunAsync(Func<Task<int>> body)
    {
        try
        {
            return await body();
        }
        catch (OperationCanceledException)
        {
            await Console.Error.WriteLineAsync("Stopped. With --json the finished rows are in the file.");
            return StoppedExitCode;
        }
        catch (EvalException e)
        {
            await Console.Error.WriteLineAsync($"error: {e.Message}");
            return ServerRun.FailedExitCode;
        }
        catch (Exception e) when (e is ModelLoadException or TokenizerException or TemplateException or SettingException or ApiException or LatentSpecException
            or ArgumentException or IOException or UnauthorizedAccessException)
        {
            await Console.Error.WriteLineAsync($"error: {e.Message}");
            return CommandSettings.InvalidExitCode;
        }
    }

    private static int Problems(IEnumerable<(string Row, CacheUse Use)> rows)
    {
        var bad = rows.Where(row => row.Use.Problem is not null).ToList();
        foreach (var (row, use) in bad)
        {
            Console.Error.WriteLine($"error: {row}: {use.Problem}");
        }

        return bad.Count == 0 ? 0 : ServerRun.FailedExitCode;
    }

    private static int[] Lengths(string list) =>
        [.. list.Split(',').Select(part => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out var length) && length > 0
            ? length
            : throw new ArgumentException($"--lengths {list}: expected whole numbers of at least 1, separated by commas."))];

    internal static Option<int> Count(string name, int standard, string description)
    {
        var option = new Option<int>(name) { HelpName = "N", DefaultValueFactory = _ => standard, Description = description };
        option.Validators.Add((OptionResult result) =>
        {
            if (result.GetValueOrDefault<int>() < 1)
            {
                result.AddError($"{name}: expected a whole number of at least 1.");
            }
        });
        return option;
    }
}

/// <summary>What --json writes.</summary>
public sealed record NeedleReport(EvalSetup Setup, IReadOnlyList<NeedleRow> Rows);

/// <inheritdoc cref="NeedleReport"/>
public sealed record PerplexityReport(EvalSetup Setup, IReadOnlyList<PerplexityRow> Rows);

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true)]
[JsonSerializable(typeof(NeedleReport))]
[JsonSerializable(typeof(PerplexityReport))]
internal sealed partial class EvalJson : JsonSerializerContext;
