using System.CommandLine;
using System.CommandLine.Parsing;
using System.Diagnostics;
using System.Globalization;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Text;
using Sals.Kernels.Cuda.Interop;
using Sals.Kernels.Cuda.Runtime;
using Sals.Server.Hosting;
using Sals.Server.Options;
using Spectre.Console;

namespace Sals.Server.Commands;

/// <summary>sals calibrate: key statistics of a text → the basis file that compressed caches need. Stopped with Ctrl+C it goes on where it was.</summary>
public static class CalibrateCommand
{
    private const int StoppedExitCode = 130;
    private static readonly TimeSpan LineInterval = TimeSpan.FromSeconds(10);

    public static Command Create()
    {
        var model = new Option<string?>("--model") { HelpName = "MODEL", Description = "Folder of a checkpoint or a Hub name; not set = the embedded model." };
        var data = new Option<FileInfo[]>("--data")
        {
            HelpName = "FILE",
            Required = true,
            AllowMultipleArgumentsPerToken = true,
            Description = "Text files (UTF-8); a form feed separates documents.",
        };
        var sequences = new Option<int>("--sequences") { HelpName = "N", DefaultValueFactory = _ => 512, Description = "Sequences to run; fewer when the text has fewer." };
        var length = new Option<int>("--length") { HelpName = "N", DefaultValueFactory = _ => 4096, Description = "Tokens of a sequence; at most the model's longest." };
        var ranks = new Option<string>("--ranks") { HelpName = "LIST", DefaultValueFactory = _ => "0.5,0.25", Description = "Shares of the key width the file must serve." };
        var groups = new Option<int?>("--basis-groups")
        {
            HelpName = "N",
            Description = "Groups of consecutive KV heads with a basis of their own, for basis_groups=N; a divisor of the model's KV heads. Not set = what the presets take: 1, for more than 1,024 key channels one for each 1,024.",
        };
        var output = new Option<string?>("--out") { HelpName = "FILE", Description = "Basis file to write; not set = sals-basis.safetensors in the model's folder, of N > 1 groups sals-basis-groups-N.safetensors." };
        var device = new Option<DeviceChoice>("--device") { HelpName = "auto|cpu|cuda", DefaultValueFactory = _ => DeviceChoice.Auto, Description = "Where; auto takes a GPU that serves the model." };
        var command = new Command("calibrate", "Compute the basis that compressed caches need, from text.") { model, data, sequences, length, ranks, groups, output, device };
        sequences.Validators.Add(AtLeast(1));
        length.Validators.Add(AtLeast(16));
        command.SetAction((parsed, stop) => Task.Run(() =>
        {
            try
            {
                return Run(
                    parsed.GetValue(model), parsed.GetValue(data)!, parsed.GetValue(sequences), parsed.GetValue(length), parsed.GetValue(ranks)!, parsed.GetValue(groups), parsed.GetValue(output),
                    parsed.GetValue(device), AnsiConsole.Console, stop);
            }
            catch (Exception e) when (e is ModelLoadException or TokenizerException or LatentBasisException or SettingException or CudaException or IOException or UnauthorizedAccessException or ArgumentException)
            {
                Console.Error.WriteLine($"error: {e.Message}");
                return CommandSettings.InvalidExitCode;
            }
        }, CancellationToken.None));
        return command;
    }

    private static int Run(string? name, FileInfo[] data, int count, int length, string ranks, int? asked, string? output, DeviceChoice choice, IAnsiConsole console, CancellationToken stop)
    {
        var path = ModelLocator.ForThisProcess.Locate(name);
        using var folder = ModelFolder.Open(path);
        var config = folder.Config;
        var groups = asked ?? LatentPresets.BasisGroups(config);
        if (groups < 1 || config.KeyValueHeadCount % groups != 0)
        {
            throw new ArgumentException($"--basis-groups {groups}: expected a divisor of the model's {config.KeyValueHeadCount} KV heads.");
        }

        length = Math.Min(length, config.MaxModelLength);
        var text = CalibrationText.Cut(data.Select(f => File.ReadAllText(f.FullName)), TokenizerLoader.Open(path), count, length);
        var fingerprint = ModelFingerprint.Of(folder.Weights);
        var file = Path.GetFullPath(output ?? Path.Combine(path, CacheSettings.BasisNameOf(groups)));
        var rank = Ranks(ranks).Max(share => LatentPresets.RoundedShare(share, config.KeyWidth, groups));
        Console.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{text.Sequences.Count} sequences of {length:#,0} tokens, {config.LayerCount} layers of key width {config.KeyWidth}, rank {rank}{(groups == 1 ? "" : $" in {groups} groups")}; model {fingerprint}, data {text.Fingerprint}"));
        if (text.Sequences.Count < count)
        {
            Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"The text holds {text.Sequences.Count} sequences, not the {count} asked for."));
        }

        var device = DevicePlan.For(SalsOptions.Default with { Device = choice, KvCache = "dense", MaxSequences = 1 }, config, NativeLibraries.Probe);
        Console.WriteLine(device.Note ?? $"Device: {device.Gpu?.Name ?? "cpu"}");
        int[] weighted = device.Gpu is null ? [.. Ranks(ranks).Where(share => share < 1).Select(share => LatentPresets.RoundedShare(share, config.KeyWidth, groups)).Distinct()] : [];
        using var backend = CalibrationBackend.Open(folder, device, length);
        var watch = Stopwatch.StartNew();
        try
        {
            if (console.Profile.Out.IsTerminal)
            {
                console.Progress().Columns(new TaskDescriptionColumn(), new ProgressBarColumn(), new PercentageColumn(), new RemainingTimeColumn()).Start(progress =>
                {
                    var tasks = new Dictionary<string, ProgressTask>();
                    Calibrate(done =>
                    {
                        var task = tasks.TryGetValue(done.Stage, out var known) ? known : tasks[done.Stage] = progress.AddTask(done.Stage, maxValue: done.Total);
                        task.Value = done.Done;
                    });
                });
            }
            else
            {
                var printed = TimeSpan.MinValue;
                Calibrate(done =>
                {
                    if (done.Done == done.Total || watch.Elapsed - LineInterval > printed)
                    {
                        printed = watch.Elapsed;
                        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{done.Stage}: {done.Done} of {done.Total}, {watch.Elapsed.TotalSeconds:0} s"));
                    }
                });
            }
        }
        catch (OperationCanceledException)
        {
            Console.WriteLine("Stopped. The same command goes on from here.");
            return StoppedExitCode;
        }

        Console.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{file}: {new FileInfo(file).Length:#,0} bytes, {text.TokenCount:#,0} tokens in {watch.Elapsed.TotalSeconds:0.0} s"));
        return 0;

        void Calibrate(Action<CalibrationProgress> progress) =>
            new Calibrator(backend, config, fingerprint, text, rank, $"{file}.state", groups) { Progress = progress, WeightedRanks = weighted }.Run(file, TimeProvider.System, stop);
    }

    private static double[] Ranks(string list) =>
        [.. list.Split(',').Select(part => double.TryParse(part, NumberStyles.Float, CultureInfo.InvariantCulture, out var share) && share > 0 && share <= 1
            ? share
            : throw new ArgumentException($"--ranks {list}: expected numbers over 0 and up to 1, separated by commas."))];

    private static Action<OptionResult> AtLeast(int least) => result =>
    {
        if (result.GetValueOrDefault<int>() < least)
        {
            result.AddError($"{result.Option.Name}: expected a whole number of at least {least}.");
        }
    };
}
