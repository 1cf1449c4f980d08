using System.CommandLine;
using System.Globalization;
using Sals.Engine.Evaluation;
using Sals.Server.Options;

namespace Sals.Server.Commands;

/// <summary>What every evaluation is told: model, caches, device, text, seed, and where results go.</summary>
internal sealed class EvalOptions
{
    private readonly Option<string?> _model = new("--model") { HelpName = "MODEL", Description = "Folder of a checkpoint or a Hub name; not set = the embedded model." };

    private readonly Option<string> _caches = new("--kv-cache")
    {
        HelpName = "LIST",
        DefaultValueFactory = _ => "dense,sals-25,sals-12.5",
        Description = "Caches to compare, separated by commas; the first is what the others are compared with. PRESET/KEY=VALUE/... changes settings of one (with + for commas in a value).",
    };

    private readonly Option<bool> _ablations = new("--ablations") { Description = "Take each preset apart: keys only, values only, selection only, all." };

    private readonly Option<string[]> _sals = new("--sals")
    {
        HelpName = "KEY=VALUE",
        AllowMultipleArgumentsPerToken = true,
        Description = "Changes a value of all compressed caches. Unless given: dense_below=0 and sparsity=8, so that every length is compressed and length / 8 tokens are selected.",
    };

    private readonly Option<string?> _basis = new("--basis") { HelpName = "FILE", Description = "Basis file; not set = sals-basis.safetensors in the model's folder, with basis_groups=N sals-basis-groups-N.safetensors." };

    private readonly Option<DeviceChoice> _device = new("--device")
    {
        HelpName = "DEVICE",
        DefaultValueFactory = _ => DeviceChoice.Auto,
        Description = "cuda, cpu, or auto: the GPU if there is one that serves all of the caches.",
    };

    private readonly Option<int> _seed = new("--seed") { HelpName = "N", DefaultValueFactory = _ => 1, Description = "Of what is drawn; the same prompts for the same seed." };
    private readonly Option<FileInfo?> _text = new("--text") { HelpName = "FILE", Description = "Held-out text (UTF-8); a form feed separates documents. Not set = the one that is bundled." };
    private readonly Option<string?> _json = new("--json") { HelpName = "FILE", Description = "Also write all figures as JSON." };
    private readonly Option<int> _sequences = Count("--max-num-seqs", 8, "Requests at once with each cache.");

    public void AddTo(Command command)
    {
        foreach (var option in new Option[] { _model, _caches, _ablations, _sals, _basis, _device, _seed, _text, _json, _sequences })
        {
            command.Options.Add(option);
        }
    }

    /// <exception cref="ArgumentException">The text is empty, or the caches are not well put.</exception>
    /// <exception cref="IOException">A file cannot be read.</exception>
    public EvalSetting Read(ParseResult parsed)
    {
        var file = parsed.GetValue(_text)?.FullName ?? Path.Combine(AppContext.BaseDirectory, "EvalText", "heldout.txt");
        var caches = EvalCache.Parse(parsed.GetValue(_caches)!, parsed.GetValue(_sals) ?? []);
        return new EvalSetting(
            SalsOptions.Default with
            {
                Model = parsed.GetValue(_model),
                BasisFile = parsed.GetValue(_basis),
                Device = parsed.GetValue(_device),
                MaxSequences = parsed.GetValue(_sequences),
                PrefixCaching = false,
            },
            parsed.GetValue(_ablations) ? EvalCache.Ablations(caches) : caches,
            new EvalText(File.ReadAllText(file)),
            Path.GetFileName(file),
            parsed.GetValue(_seed),
            parsed.GetValue(_json));
    }

    /// <summary>A whole number of at least 1.</summary>
    internal static Option<int> Count(string name, int standard, string description)
    {
        var option = new Option<int>(name) { HelpName = "N", DefaultValueFactory = _ => standard, Description = description };
        option.Validators.Add(result =>
        {
            if (result.GetValueOrDefault<int>() < 1)
            {
                result.AddError($"{name}: expected a whole number of at least 1.");
            }
        });
        return option;
    }

    /// <exception cref="ArgumentException">Not such a list.</exception>
    internal static int[] Lengths(string list) =>
        [.. list.Split(',').Select(part => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out var length) && length > 0
            ? length
            : throw new ArgumentException($"--lengths {list}: expected whole numbers of at least 1, separated by commas."))];
}

/// <summary>One evaluation as it was asked for.</summary>
/// <param name="Options">Model and device; a cache's own settings come on top.</param>
/// <param name="TextName">Of the held-out text's file.</param>
/// <param name="JsonFile">Null = none.</param>
internal sealed record EvalSetting(SalsOptions Options, IReadOnlyList<EvalCache> Caches, EvalText Text, string TextName, int Seed, string? JsonFile)
{
    /// <summary>Settings of the server for one cache.</summary>
    /// <param name="maxLength">Tokens of the longest sequence; null = what the model takes.</param>
    public SalsOptions OptionsOf(EvalCache cache, int? maxLength) =>
        Options with { KvCache = cache.Preset, CacheSettings = cache.Settings, MaxModelLength = maxLength };
}
