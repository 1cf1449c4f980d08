using System.CommandLine;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Sals.Engine.Evaluation;
using Sals.Server.Options;

namespace Sals.Server.Commands;

/// <summary>What every evaluation is told: model, caches, text, seed.</summary>
internal sealed class EvalOptions
{
    private static readonly string[] CriticalKeys = ["critical", "critical_min", "critical_max", "sparsity"];

    private readonly Option<string?> _model = new("--model") { HelpName = "MODEL", Description = "Folder of a checkpoint or a Hub name; not set = the embedded model." };

    private readonly Option<string> _caches = new("--kv-cache")
    {
        HelpName = "LIST",
        DefaultValueFactory = _ => "dense,sals-25,sals-12.5",
        Description = "Caches to compare, separated by commas.",
    };

    private readonly Option<string[]> _sals = new("--sals")
    {
        HelpName = "KEY=VALUE",
        AllowMultipleArgumentsPerToken = true,
        Description = "Changes a value of the compressed caches. Unless given: dense_below=0 and sparsity=8, so that every length is compressed and length / 8 tokens are selected.",
    };

    private readonly Option<string?> _basis = new("--basis") { HelpName = "FILE", Description = "Basis file; not set = sals-basis.safetensors in the model's folder." };
    private readonly Option<int> _seed = new("--seed") { HelpName = "N", DefaultValueFactory = _ => 1, Description = "Of what is drawn; the same prompts for the same seed." };
    private readonly Option<FileInfo?> _text = new("--text") { HelpName = "FILE", Description = "Held-out text (UTF-8); a form feed separates documents. Not set = the one that is bundled." };
    private readonly Option<string?> _json = new("--json") { HelpName = "FILE", Description = "Also write all figures as JSON, after every row." };
    private readonly Option<int> _sequences = EvalCommand.Count("--max-num-seqs", 8, "Requests at once.");

    public void AddTo(Command command)
    {
        foreach (var option in new Option[] { _model, _caches, _sals, _basis, _seed, _text, _json, _sequences })
        {
            command.Options.Add(option);
        }
    }

    /// <exception cref="ArgumentException">The text is empty.</exception>
    /// <exception cref="IOException">A file cannot be read.</exception>
    public EvalSuite Read(ParseResult parsed)
    {
        var file = parsed.GetValue(_text)?.FullName ?? Path.Combine(AppContext.BaseDirectory, "EvalText", "heldout.txt");
        var settings = parsed.GetValue(_sals) ?? [];
        if (!settings.Any(setting => CriticalKeys.Contains(setting.Split('=')[0].Trim())))
        {
            settings = ["sparsity=8", .. settings];
        }

        return new EvalSuite(
            SalsOptions.Default with
            {
                Model = parsed.GetValue(_model),
                BasisFile = parsed.GetValue(_basis),
                CacheSettings = ["dense_below=0", .. settings],
                MaxSequences = parsed.GetValue(_sequences),
                PrefixCaching = false,
            },
            parsed.GetValue(_caches)!.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries),
            new EvalText(File.ReadAllText(file)),
            Path.GetFileName(file),
            parsed.GetValue(_seed),
            parsed.GetValue(_json));
    }
}

/// <summary>One evaluation: the caches it compares, one after another, each with a backend of its own.</summary>
internal sealed class EvalSuite(SalsOptions options, string[] caches, EvalText text, string textName, int seed, string? jsonFile)
{
    private readonly List<string> _described = [];
    private string _model = "";
    private string _backend = "";

    public EvalText Text => text;

    public int Seed => seed;

    public EvalSetup Setup => new(_model, _backend, seed, textName, text.Fingerprint, _described);

    /// <summary>Runs <paramref name="body"/> with every cache.</summary>
    /// <param name="maxLength">Tokens of the longest sequence.</param>
    /// <param name="lengthFlag">Flag that this length comes from, for errors.</param>
    public async Task EachCacheAsync(int maxLength, string lengthFlag, Func<EvalSession, Task> body, CancellationToken stop)
    {
        if (caches.Length == 0)
        {
            throw new ArgumentException("--kv-cache: expected at least one cache.");
        }

        foreach (var cache in caches)
        {
            stop.ThrowIfCancellationRequested();
            // every cache must run on one device to be compared, and the compressed ones run on the CPU only
            var device = options.Device == DeviceChoice.Auto ? DeviceChoice.Cpu : options.Device;
            var own = options with { Device = device, KvCache = cache, MaxModelLength = maxLength, CacheSettings = cache == "dense" ? [] : options.CacheSettings };
            await using var session = await EvalSession.OpenAsync(own, lengthFlag);
            _model = session.Model.Root;
            _backend = session.Info.Name;
            _described.Add(session.Info.Spec.Describe());
            await body(session);
        }
    }

    /// <summary>Writes the report to --json, if there is one.</summary>
    public void Save<T>(T report, JsonTypeInfo<T> type)
    {
        if (jsonFile is not null)
        {
            File.WriteAllText(jsonFile, JsonSerializer.Serialize(report, type) + "\n");
        }
    }
}
