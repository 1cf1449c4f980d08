using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using System.Text.Json.Serialization;
using Sals.Engine.Backends.Cuda;
using Sals.Engine.Backends.Cuda.Benchmarks;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Text;
using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Interop;
using Sals.Kernels.Cuda.Runtime;
using Sals.Server.Hosting;
using Sals.Server.Options;
using Spectre.Console;

namespace Sals.Server.Commands;

/// <summary>What sals bench step and prefill measured on a GPU, beside ceilings of the same run.</summary>
public sealed record CudaBenchReport(
    string Date, string Device, string Model, CudaCeilings Ceilings, double StartSeconds, IReadOnlyList<StepFigure> Steps, IReadOnlyList<PromptFigure> Prompts,
    IReadOnlyList<OperatorFigure> Operators)
{
    /// <summary>What the decode graphs of the last cache took of the start.</summary>
    public double GraphSeconds { get; init; }

    /// <summary>Device memory of these.</summary>
    public long GraphBytes { get; init; }

    /// <summary>Null before the first cache has been measured.</summary>
    [JsonIgnore]
    public CudaCeilings? Measured => Ceilings.ReadBytesPerSecond > 0 ? Ceilings : null;
}

/// <summary>sals bench step and sals bench prefill: single steps of the CUDA backend on random cache pages, and single prompts.</summary>
public static class CudaBenchCommand
{
    private static readonly Option<bool> Kernels = new("--kernels") { Description = "Time every kind of launch of each point alone, too." };

    private static readonly Option<FileInfo?> Json = new("--json") { HelpName = "FILE", Description = "Write all figures to this file as JSON, too." };

    private static readonly Option<string[]> Caches = new("--caches")
    {
        HelpName = "PRESET",
        AllowMultipleArgumentsPerToken = true,
        DefaultValueFactory = _ => ["dense"],
        Description = "Caches to measure, each a --kv-cache preset, with KEY=VALUE changes behind commas and a name of its own before a colon: plain:sals-25,latent_format=bf16.",
    };

    public static Command Step()
    {
        var batches = Numbers("--batches", [1, 8], "Rows of a step.");
        var contexts = Numbers("--contexts", [4096, 32768], "Tokens that each row reads.");
        var steps = new Option<int>("--steps") { HelpName = "N", DefaultValueFactory = _ => 64, Description = "Steps of which the mean counts; 64 are one page of every row." };
        var fill = new Option<bool>("--fill") { Description = "Measure the largest batch that the cache holds at each context, too; at most 256 rows." };
        var command = new Command("step", "Time decode steps on the GPU, on cache pages of random numbers.") { batches, contexts, fill, steps, Caches, Kernels, Json };
        command.SetAction(new SettingOptions(command), (values, parsed, _) => Task.FromResult(Run(new SalsOptions(values), parsed, (options, model, cache, report) =>
        {
            var rows = parsed.GetValue(batches)!;
            var lengths = parsed.GetValue(contexts)!;
            var count = parsed.GetValue(steps);
            using var bench = new CudaBench(model.Weights, options with { Slots = parsed.GetValue(fill) ? CudaBackend.MaxSlots : rows.Max(), MaxModelLength = lengths.Max() }, cache, report.Measured);
            Console.Error.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{cache}: ready after {bench.StartSeconds:0.00} s, {bench.GraphSeconds:0.00} s and {MemoryBudget.Bytes(bench.GraphBytes)} of it for decode graphs"));
            var points = rows.Concat(parsed.GetValue(fill) ? [0] : []).SelectMany(batch => lengths.Select(context => (batch, context)));
            foreach (var (batch, context) in points)
            {
                var figure = bench.Step(batch, context, count, parsed.GetValue(Kernels)) ?? TooLarge(batch, context);
                report = figure is null ? report : Keep(report.With(bench, [figure], []), parsed, $"{cache}, {figure.Batch} x {context:#,0}: {figure.StepMilliseconds:0.000} ms a step");
            }

            return report;

            StepFigure? TooLarge(int batch, int context)
            {
                Console.Error.WriteLine($"left out: {cache}, {batch} rows of {context} tokens do not fit the cache of {MemoryBudget.Bytes(bench.Info.CacheBytes)}");
                return null;
            }
        })));
        return command;
    }

    public static Command Prefill()
    {
        var prompts = Numbers("--prompts", [4096, 32768], "Lengths of prompts, in tokens.");
        var repeats = new Option<int>("--repeats") { HelpName = "N", DefaultValueFactory = _ => 3, Description = "Runs of each, of which the median counts." };
        var command = new Command("prefill", "Time prompts on the GPU from submission to the first token.") { prompts, repeats, Caches, Kernels, Json };
        command.SetAction(new SettingOptions(command), (values, parsed, _) => Task.FromResult(Run(new SalsOptions(values), parsed, (options, model, cache, report) =>
        {
            var lengths = parsed.GetValue(prompts)!;
            var longest = Math.Min(model.Config.MaxModelLength, lengths.Max() + 1);
            using var bench = new CudaBench(model.Weights, options with { Slots = 1, MaxModelLength = longest }, cache, report.Measured);
            foreach (var tokens in lengths)
            {
                var figure = bench.Prompt(Math.Min(tokens, longest - 1), parsed.GetValue(repeats), kernels: true)
                    ?? throw new SettingException($"--prompts {tokens}: the cache of {MemoryBudget.Bytes(bench.Info.CacheBytes)} does not hold it");
                report = Keep(report.With(bench, [], [figure]), parsed, $"{cache}, prompt of {tokens:#,0}: {figure.FirstTokenMilliseconds:0.0} ms to the first token");
            }

            return report;
        })));
        return command;
    }

    public static Command Operator()
    {
        var heads = new Option<string[]>("--heads")
        {
            HelpName = "HQ/HK",
            AllowMultipleArgumentsPerToken = true,
            DefaultValueFactory = _ => ["32/8", "32/32"],
            Description = "Query heads and KV heads of 128 channels.",
        };
        var batches = Numbers("--batches", [1, 8, 16, 32], "Rows of a step.");
        var contexts = Numbers("--contexts", [1024, 2048, 4096, 8192, 32768, 131072], "Tokens that each row reads.");
        var command = new Command("op", "Time the attention of one layer on the GPU, from queries to head outputs, for every cache, batch and context.")
        {
            heads, batches, contexts, Caches, Json,
        };
        command.SetAction((parsed, _) => Task.FromResult(Guarded(() =>
        {
            var found = NativeLibraries.Probe();
            var gpu = found.Usable ? found.Devices.First(device => device.Problem is null) : throw new SettingException($"sals bench op: {DevicePlan.Missing(found)}");
            var options = new CudaBackendOptions { Device = gpu.Ordinal, MaxModelLength = 1, Spec = LatentSpec.Dense(1), KernelCacheFolder = KernelCache.DefaultFolder };
            var (device, ceilings) = CudaCeilings.Measure(gpu.Ordinal, options.KernelCacheFolder);
            var report = new CudaBenchReport(Today, device, "one layer's attention", ceilings, 0, [], [], []);
            foreach (var shape in parsed.GetValue(heads)!)
            {
                var counts = shape.Split('/');
                if (counts.Length != 2 || !int.TryParse(counts[0], out var queries) || !int.TryParse(counts[1], out var keys) || keys < 1 || queries % keys != 0)
                {
                    throw new SettingException($"--heads: expected query heads and KV heads such as 32/8, found '{shape}'");
                }

                foreach (var cache in parsed.GetValue(Caches)!)
                {
                    var (label, words) = Words(cache);
                    foreach (var figure in OperatorBench.Run(queries, keys, label, words, parsed.GetValue(batches)!, parsed.GetValue(contexts)!, ceilings, options))
                    {
                        report = Keep(report with { Operators = [.. report.Operators, figure] }, parsed,
                            $"{shape}, {label}, {figure.Batch} x {figure.Context:#,0}: {figure.Problem ?? string.Create(CultureInfo.InvariantCulture, $"{figure.Microseconds:0.0} us")}");
                    }
                }
            }

            return Finish(report);
        })));
        return command;
    }

    private static string Today => DateTime.UtcNow.ToString("yyyy-MM-dd", null);

    /// <summary>[LABEL:]PRESET[,KEY=VALUE]...</summary>
    private static (string Label, string[] Words) Words(string cache)
    {
        var colon = cache.IndexOf(':', StringComparison.Ordinal);
        return (colon < 0 ? cache : cache[..colon], cache[(colon + 1)..].Split(',', StringSplitOptions.RemoveEmptyEntries));
    }

    private static int Run(
        SalsOptions options, ParseResult parsed, Func<CudaBackendOptions, ModelFolder, string, CudaBenchReport, CudaBenchReport> measure)
    {
        return Guarded(() =>
        {
            var path = ModelLocator.ForThisProcess.Locate(options.Model);
            using var folder = ModelFolder.Open(path, null, options.LoadFormat);
            var plan = DevicePlan.For(options with { Device = DeviceChoice.Cuda }, folder.Config, NativeLibraries.Probe);
            var report = new CudaBenchReport(Today, "", options.Model ?? ModelOpener.EmbeddedName, new CudaCeilings(0, 0, 0, 0), 0, [], [], []);
            foreach (var cache in parsed.GetValue(Caches)!)
            {
                var (label, words) = Words(cache);
                var settings = CacheSettings.Resolve(
                    options with { KvCache = words[0], CacheSettings = words[1..] }, path, folder, null, gpu: true, StartCalibration.ForThisProcess, Console.Error.WriteLine);
                var cuda = BackendPlan.CudaOptions(options, folder.Config, settings.Spec, folder.Config.VocabularySize, plan.Gpu!);
                report = measure(cuda with { ShortenToFit = false, Basis = settings.Basis }, folder, label, report);
            }

            return Finish(report);
        });
    }

    /// <summary>Says a figure and writes all so far: a run that is cut short keeps what it has measured.</summary>
    private static CudaBenchReport Keep(CudaBenchReport report, ParseResult parsed, FormattableString line)
    {
        Console.Error.WriteLine(line.ToString(CultureInfo.InvariantCulture));
        if (parsed.GetValue(Json) is { } file)
        {
            File.WriteAllText(file.FullName, JsonSerializer.Serialize(report, CudaBenchJson.Default.CudaBenchReport));
        }

        return report;
    }

    private static int Finish(CudaBenchReport report)
    {
        CudaBenchTables.Print(report, AnsiConsole.Console);
        return 0;
    }

    private static int Guarded(Func<int> body)
    {
        try
        {
            return body();
        }
        catch (Exception exception) when (exception is ModelLoadException or TokenizerException or SettingException or LatentSpecException or CudaException or ArgumentException)
        {
            Console.Error.WriteLine($"error: {exception.Message}");
            return ServerRun.FailedExitCode;
        }
    }

    private static CudaBenchReport With(this CudaBenchReport report, CudaBench bench, IReadOnlyList<StepFigure> steps, IReadOnlyList<PromptFigure> prompts) => report with
    {
        Device = bench.Device,
        Ceilings = bench.Ceilings,
        StartSeconds = bench.StartSeconds,
        GraphSeconds = bench.GraphSeconds,
        GraphBytes = bench.GraphBytes,
        Steps = [.. report.Steps, .. steps],
        Prompts = [.. report.Prompts, .. prompts],
    };

    private static Option<int[]> Numbers(string name, int[] otherwise, string description) => new(name)
    {
        HelpName = "N",
        AllowMultipleArgumentsPerToken = true,
        DefaultValueFactory = _ => otherwise,
        Description = description,
    };
}

[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true)]
[JsonSerializable(typeof(CudaBenchReport))]
internal sealed partial class CudaBenchJson : JsonSerializerContext;
