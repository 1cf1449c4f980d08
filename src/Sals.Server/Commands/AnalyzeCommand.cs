using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Sals.Engine.Backends.Cpu;
using Sals.Engine.Evaluation.Analysis;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Text;

namespace Sals.Server.Commands;

/// <summary>sals analyze: spectra of the keys and what a latent selection keeps of the attention, as a report with plots.</summary>
public static class AnalyzeCommand
{
    public static Command Create()
    {
        var model = new Option<string?>("--model") { HelpName = "MODEL", Description = "Folder of a checkpoint or a Hub name; not set = the embedded model." };
        var data = new Option<FileInfo[]>("--data") { HelpName = "FILE", AllowMultipleArgumentsPerToken = true, Description = "Text files (UTF-8); a form feed separates documents. Not set = the bundled held-out text." };
        var cache = new Option<string>("--kv-cache") { HelpName = "PRESET", DefaultValueFactory = _ => LatentPresets.Default, Description = "Ranks and budgets to look at; dense_below=0 and sparsity=8 unless --sals says otherwise." };
        var sals = new Option<string[]>("--sals") { HelpName = "KEY=VALUE", AllowMultipleArgumentsPerToken = true, Description = "Changes a value of it." };
        var sequences = EvalOptions.Count("--sequences", 24, "Sequences; three in four give spectra and bases, the others are looked at.");
        var length = EvalOptions.Count("--length", 2048, "Tokens of a sequence; at most the model's longest.");
        var rows = EvalOptions.Count("--rows", 32, "Query positions of a sequence that are looked at, in pairs of neighbours.");
        var html = new Option<string>("--html") { HelpName = "FILE", DefaultValueFactory = _ => "analysis.html", Description = "Report to write." };
        var json = new Option<string?>("--json") { HelpName = "FILE", Description = "Also write all figures as JSON." };
        var command = new Command("analyze", "Report how compressible a model's keys are and what a latent selection keeps of its attention.") { model, data, cache, sals, sequences, length, rows, html, json };
        command.SetAction((parsed, stop) => EvalCommand.RunAsync(async () =>
        {
            var path = ModelLocator.ForThisProcess.Locate(parsed.GetValue(model));
            using var folder = ModelFolder.Open(path);
            var tokens = Math.Min(parsed.GetValue(length), folder.Config.MaxModelLength);
            FileInfo[] files = parsed.GetValue(data) is { Length: > 0 } given ? given : [new FileInfo(Path.Combine(AppContext.BaseDirectory, "EvalText", "heldout.txt"))];
            var text = CalibrationText.Cut(files.Select(file => File.ReadAllText(file.FullName)), TokenizerLoader.Open(path), parsed.GetValue(sequences), tokens);
            if (text.Sequences.Count < 2)
            {
                throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"--data: expected text of at least two sequences of {tokens:#,0} tokens."));
            }

            var chosen = EvalCache.Parse(parsed.GetValue(cache)!, parsed.GetValue(sals) ?? [])[0];
            var spec = LatentSpecParser.Parse(chosen.Preset, chosen.Settings, folder.Config);
            if (spec.IsDense)
            {
                throw new ArgumentException($"--kv-cache {chosen.Preset}: there is nothing to analyse about an exact cache.");
            }

            var looked = Math.Max(1, text.Sequences.Count / 4);
            using var backend = new CpuBackend(folder.Weights, new CpuBackendOptions { Slots = 1, MaxModelLength = tokens, CacheBytes = 1, Spec = LatentSpec.Dense(folder.Config.LayerCount) });
            ModelAnalysis? analysis = null;
            await EvalProgress.RunAsync("Analysis", text.Sequences.Count - looked + (looked * (1 + folder.Config.LayerCount)), answered => Task.Run(
                () => analysis = new AttentionAnalysis(folder.Config, backend, spec, parsed.GetValue(rows)) { Progress = (_, _) => answered() }.Run(
                    parsed.GetValue(model) ?? Hosting.ModelOpener.EmbeddedName, string.Join(", ", files.Select(file => file.Name)), [.. text.Sequences.SkipLast(looked)], [.. text.Sequences.TakeLast(looked)], stop), stop));
            await File.WriteAllTextAsync(parsed.GetValue(html)!, AnalysisReport.Html(analysis!), stop);
            if (parsed.GetValue(json) is { } file)
            {
                await File.WriteAllTextAsync(file, JsonSerializer.Serialize(analysis!, AnalysisJson.Default.ModelAnalysis) + "\n", stop);
            }

            Console.WriteLine("layer  energy  sum of logits  best head  oracle  overlap  rank");
            foreach (var layer in analysis!.Layers)
            {
                Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
                    $"{layer.Layer,5}  {100 * layer.Energy(analysis.Rank),5:0.0}%  {100 * layer.SumMass,12:0.0}%  {100 * layer.HeadMass,8:0.0}%  {100 * layer.OracleMass,5:0.0}%  {100 * layer.Overlap,6:0.0}%  {(layer.SuggestedRank > 0 ? $"{layer.SuggestedRank}" : "-"),4}{(layer.SuggestDense ? "  keep exact" : "")}"));
            }

            Console.WriteLine($"Rank by layer for the same bytes: --sals {analysis.LayerRanks}");
            Console.WriteLine(parsed.GetValue(html));
            return 0;
        }));
        return command;
    }
}
