using System.CommandLine;
using System.Text.Json;
using Sals.Engine.Evaluation;

namespace Sals.Server.Commands;

/// <summary>sals eval perplexity: log-likelihood of held-out text through decode rows, with each cache.</summary>
internal static class PerplexityCommand
{
    public static Command Create()
    {
        var common = new EvalOptions();
        var windows = EvalOptions.Count("--windows", 8, "Stretches of text.");
        var prompt = EvalOptions.Count("--prompt", 1024, "Tokens of a window that are prefilled.");
        var tokens = EvalOptions.Count("--tokens", 1024, "Tokens of a window that are forced and scored.");
        var command = new Command("perplexity", "Log-likelihood of held-out text, forced token by token through decode rows.") { windows, prompt, tokens };
        common.AddTo(command);
        command.SetAction((parsed, stop) => EvalCommand.RunAsync(async () =>
        {
            var setting = common.Read(parsed);
            var prefilled = parsed.GetValue(prompt);
            // one more: the first token behind the prompt is predicted by the prefill and does not count
            var length = prefilled + 1 + parsed.GetValue(tokens);
            await using var sessions = await EvalSessions.OpenAsync(setting, length, "--prompt and --tokens");
            var texts = setting.Text.Windows(sessions.All[0].Tokenizer, parsed.GetValue(windows), length);
            List<EvalAnswer>[] answers = [.. sessions.All.Select(_ => new List<EvalAnswer>())];
            await EvalProgress.RunAsync("Perplexity", texts.Length * sessions.All.Count, async answered =>
            {
                foreach (var part in texts.Chunk(sessions.All[0].Info.SlotCount))
                {
                    for (var i = 0; i < sessions.All.Count; i++)
                    {
                        answers[i].AddRange(await sessions.All[i].RunAsync(run => (run with { Answered = (_, _) => answered() }).ForceAsync(part, prefilled, stop), part.Length * (long)prefilled));
                    }

                    sessions.Share?.Clear();
                }
            });

            PerplexityRow[] rows = [.. sessions.All.Select((session, i) => EvalScores.Perplexity(
                session.Cache, prefilled, answers[i], session.TokensPerSecond!.Value,
                session.Use([.. answers[i].Select(answer => answer.Trace)], [.. texts.Select(text => text.Length)])))];
            var setup = new EvalSetup(
                sessions.All[0].Model.Root, sessions.All[0].Info.Name, setting.Seed, setting.TextName, setting.Text.Fingerprint,
                [.. sessions.All.Select(session => $"{session.Cache}: {session.Info.Spec.Describe()}{session.Basis}")]);
            if (setting.JsonFile is not null)
            {
                await File.WriteAllTextAsync(setting.JsonFile, JsonSerializer.Serialize(new PerplexityReport(setup, rows), EvalJson.Default.PerplexityReport) + "\n", stop);
            }

            Console.Write(EvalMarkdown.Perplexity(setup, rows));
            return EvalCommand.Problems(rows.Select(row => (row.Cache, row.Use)));
        }));
        return command;
    }
}

/// <summary>What --json writes.</summary>
internal sealed record PerplexityReport(EvalSetup Setup, IReadOnlyList<PerplexityRow> Rows);
