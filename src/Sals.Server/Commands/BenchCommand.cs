using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Sals.Engine.Models;
using Sals.Engine.Text;
using Sals.Engine.Text.Jinja;
using Sals.Server.Hosting;
using Sals.Server.Options;
using Spectre.Console;

namespace Sals.Server.Commands;

/// <summary>sals bench [MODEL]: prefill and decode speed, time to first token, memory, and what share of the machine that is.</summary>
public static class BenchCommand
{
    public static Command Create()
    {
        var prompts = new Option<int[]>("--prompts")
        {
            HelpName = "N",
            AllowMultipleArgumentsPerToken = true,
            DefaultValueFactory = _ => [128, 1024, 4096],
            Description = "Prompt lengths to prefill, in tokens.",
        };
        var batches = new Option<int[]>("--batches")
        {
            HelpName = "N",
            AllowMultipleArgumentsPerToken = true,
            DefaultValueFactory = _ => [1, 2, 4, 8, 16],
            Description = "Numbers of streams to decode at once; more than --max-num-seqs are left out.",
        };
        var contexts = new Option<int[]>("--contexts")
        {
            HelpName = "N",
            AllowMultipleArgumentsPerToken = true,
            DefaultValueFactory = _ => [1024, 4096],
            Description = "Tokens of context behind which one stream decodes, in whole pages of 64; the cache's bytes are counted there.",
        };
        var repeats = new Option<int>("--repeats") { HelpName = "N", DefaultValueFactory = _ => 3, Description = "Runs of each, of which the median counts." };
        var json = new Option<bool>("--json") { Description = "Print one JSON object instead of tables." };
        var command = new Command("bench", "Measure prefill, decode and memory of a model on this machine.") { prompts, batches, contexts, repeats, json };
        command.Subcommands.Add(CudaBenchCommand.Step());
        command.Subcommands.Add(CudaBenchCommand.Prefill());
        command.Subcommands.Add(CudaBenchCommand.Operator());
        command.SetAction(new SettingOptions(command), async (values, parsed, _) =>
        {
            try
            {
                var options = new SalsOptions(values);
                if (options.Device == DeviceChoice.Cuda)
                {
                    throw new SettingException("--device cuda: sals bench measures shares of the CPU's ceilings and knows none of the GPU yet; give --device cpu");
                }

                using var model = ModelOpener.Open(options with { Device = DeviceChoice.Cpu }, Console.Error.WriteLine);
                var report = await EngineBench.RunAsync(
                    model, model.Config!, Positive(parsed.GetValue(prompts)!), Positive(parsed.GetValue(batches)!), Positive(parsed.GetValue(contexts)!),
                    Math.Clamp(parsed.GetValue(repeats), 1, 100));
                Print(report, parsed.GetValue(json), AnsiConsole.Console);
                return 0;
            }
            catch (Exception exception) when (exception is ModelLoadException or TokenizerException or TemplateException or SettingException)
            {
                await Console.Error.WriteLineAsync($"error: {exception.Message}");
                return ServerRun.FailedExitCode;
            }
        });
        return command;
    }

    private static int[] Positive(int[] values) => [.. values.Where(value => value > 0).Distinct()];

    private static void Print(BenchReport report, bool json, IAnsiConsole console)
    {
        if (json)
        {
            Console.WriteLine(JsonSerializer.Serialize(report, BenchJson.Default.BenchReport));
            return;
        }

        console.WriteLine(Text($"{report.Model} on {report.Backend}, {report.Threads} threads; this machine now: {report.MachineGigabytesPerSecond:0.0} GB/s reading, {report.MachineGigaflopsPerSecond:0} GFLOP/s"));
        var prefill = new Table().Border(TableBorder.Simple).AddColumns("prompt tokens", "prefill tokens/s", "TTFT ms", "GFLOP/s", "share of peak");
        foreach (var figure in report.Prefill)
        {
            prefill.AddRow(Text($"{figure.PromptTokens:#,0}"), Text($"{figure.TokensPerSecond:#,0}"), Text($"{figure.FirstTokenSeconds * 1000:0.0}"),
                Text($"{figure.GigaflopsPerSecond:0.0}"), Text($"{figure.ShareOfPeak:0%}"));
        }

        console.Write(prefill);
        var decode = new Table().Border(TableBorder.Simple).AddColumns("streams", "decode tokens/s", "x one stream", "ms a step", "weights GB/s", "share of reading");
        foreach (var figure in report.Decode)
        {
            decode.AddRow(Text($"{figure.Streams}"), Text($"{figure.TokensPerSecond:#,0}"), Text($"{figure.TokensPerSecond / report.Decode[0].TokensPerSecond * report.Decode[0].Streams:0.0}"),
                Text($"{figure.StepMilliseconds:0.00}"), Text($"{figure.GigabytesPerSecond:0.0}"), Text($"{figure.ShareOfBandwidth:0%}"));
        }

        console.Write(decode);
        var contexts = new Table().Border(TableBorder.Simple).AddColumns("context", "decode tokens/s", "ms a step", "cache in use", "by layout", "dense", "ratio");
        foreach (var figure in report.Contexts)
        {
            contexts.AddRow(Text($"{figure.Context:#,0}"), Text($"{figure.TokensPerSecond:#,0}"), Text($"{figure.StepMilliseconds:0.00}"), MemoryBudget.Bytes(figure.CacheBytes),
                MemoryBudget.Bytes(figure.ExpectedCacheBytes), MemoryBudget.Bytes(figure.DenseCacheBytes), Text($"{(double)figure.CacheBytes / figure.DenseCacheBytes:0.000}"));
        }

        var cache = report.Cache;
        console.WriteLine(Text($"cache: {cache.Settings}"));
        console.WriteLine(Text($"bytes of a token: exact {cache.ExactBytesPerToken:#,0}, compressed {cache.CompressedBytesPerToken:#,0}; ratio of a compressed layer {cache.LayerRatio:0.000}, of the whole model {cache.ModelRatio:0.000}"));
        console.WriteLine(Text($"decoded sparsely in this run: {cache.SparseTokenShare:0.0%} of tokens, {cache.SparsePairShare:0.0%} of (layer, token) pairs; {cache.Selections:#,0} selections, {cache.Flushes:#,0} flushes"));
        console.Write(contexts);
        console.WriteLine($"memory: weights {MemoryBudget.Bytes(report.WeightBytes)}, cache in use {MemoryBudget.Bytes(report.CacheBytes)}, process {MemoryBudget.Bytes(report.ResidentBytes)}");
    }

    private static string Text(FormattableString text) => text.ToString(CultureInfo.InvariantCulture);
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true)]
[JsonSerializable(typeof(BenchReport))]
internal sealed partial class BenchJson : JsonSerializerContext;
