using System.Globalization;
using Sals.Engine.Models;

namespace Sals.Engine.Latent;

/// <summary>One or more cache settings are wrong; the message names each.</summary>
public sealed class LatentSpecException(IReadOnlyList<string> errors) : Exception(string.Join(" ", errors))
{
    /// <summary>One sentence per wrong setting.</summary>
    public IReadOnlyList<string> Errors { get; } = errors;
}

/// <summary>
/// --kv-cache PRESET with any number of --sals KEY=VALUE → <see cref="LatentSpec"/> for one model. Every wrong setting is reported, not just the first.
/// </summary>
public sealed class LatentSpecParser
{
    public const string DefaultPreset = "sals-25";

    /// <summary>Values of --kv-cache.</summary>
    public static readonly string[] Presets = ["sals-25", "sals-12.5", "dense"];

    /// <summary>
    /// dense_below of models whose query heads share KV heads; <see cref="DefaultDenseBelow"/>. On an H100, attention of one layer with 32/8 heads: at 2,048 tokens
    /// the paper's ranks take as long as exact keys at 8 rows, sals-25 longer; at 3,072 exact keys take 1.2 (sals-25) to 1.4 times as long at 8 rows, 1.4 to 1.9 at 32, and
    /// one row's step has 0.98 of a dense one's speed (docs/benchmarks.md).
    /// </summary>
    private const int GroupedDenseBelow = 3072;

    /// <summary>
    /// dense_below of models whose query heads have a KV head each, whose exact keys are four times as many bytes at the same query heads: 1.5 to 2.1 times as long at 8 rows
    /// of 2,048 tokens; a shorter single row would lose.
    /// </summary>
    private const int UngroupedDenseBelow = 2048;

    /// <summary>Largest number of int8 coordinates that are scored: sums of as many are exact in 32 bits.</summary>
    private const int MostScoredCodes = 1024;

    /// <summary>
    /// Channels that one basis joins unless settings say otherwise: with more, a KV head's basis leaves no room in a multiprocessor's shared memory and rebuilding its keys
    /// takes longer than reading exact ones (docs/benchmarks.md); fewer are hardly faster.
    /// </summary>
    private const int WidestBasis = 1024;

    /// <summary>Groups of fewer channels share too little to be compressed.</summary>
    private const int NarrowestBasis = 256;

    /// <summary>Shares of coordinates are rounded up to a multiple of as many.</summary>
    private const int CoordinateStep = 16;

    private static readonly (string Key, string Meaning)[] Settings =
    [
        ("rank_ratio", "share of D kept as latent coordinates, over 0 to 1, rounded up to a multiple of 16; not set = the preset's bytes: twice as many in int8 as in bf16"),
        ("rank", "latent coordinates, instead of rank_ratio"),
        ("layer_ranks", "latent coordinates of each compressed layer in order, comma-separated multiples of 16, instead of rank ('sals analyze' suggests some); CPU only"),
        ("score_ratio", "share of the latent coordinates that scoring reads, over 0 to 1, rounded up to a multiple of 16"),
        ("score_rank", "scored coordinates, instead of score_ratio"),
        ("basis_groups", "consecutive groups of KV heads with a basis of their own, a divisor of the KV heads; each keeps an equal share of rank and score_rank; 1 = one basis for all, as in the paper; not set = 1 up to D = 1024, over that as few as have at most 1024 channels each"),
        ("sink_tokens", "first tokens always attended exactly, 0 to 64"),
        ("recent_tokens", "newest tokens always attended exactly, 1 to 65536"),
        ("critical", "fixed number of selected tokens, instead of the rule"),
        ("sparsity", "selected tokens are length / sparsity; alone it also lifts critical_min and critical_max"),
        ("critical_mass", "over 0 to below 1, instead of sparsity: of each row as few tokens as hold this share of the probability that their scores say, critical_min to critical_max; CPU only"),
        ("critical_min", "least number of selected tokens"),
        ("critical_max", "largest number of selected tokens"),
        ("value_bits", "2, 3, 4 or 16"),
        ("value_group", "channels sharing a scale, a multiple of 32 that divides D"),
        ("value_rotation", "none or hadamard: values are turned by a Hadamard matrix for each head before they are quantised; CPU only"),
        ("dense_layers", "comma-separated layers that are never compressed, counted from the end when negative; last, none and auto are words"),
        ("dense_below", "sequences of at most this many tokens stay exact, 0 or more"),
        ("dense_format", "exact or int8: how the layers that are never compressed keep keys and values, int8 with a scale for each token and KV head"),
        ("latent_format", "int8, bf16, or on the CPU only float32 and int4"),
        ("score_rope", "none (as in the paper) or bands: scores see rope, averaged over bands of distance; on the GPU of int8 latents only"),
        ("score_heads", "sum (one score of all heads together, as in the paper) or zscore (every query head by itself, standardised, put together as the sum of exponentials); CPU only"),
        ("centred", "true or false: subtract the mean key before projecting"),
        ("basis", "keys (directions in which keys are largest, as in the paper) or queries (those that queries see; needs centred)"),
    ];

    private readonly Dictionary<string, string> _values = [];
    private readonly List<string> _errors = [];
    private readonly ModelConfig _model;

    private LatentSpecParser(ModelConfig model) => _model = model;

    /// <summary>Names and meanings of the --sals settings, for help texts.</summary>
    public static IReadOnlyList<(string Key, string Meaning)> Keys => Settings;

    /// <param name="preset">One of <see cref="Presets"/>.</param>
    /// <param name="settings">KEY=VALUE, later ones win.</param>
    /// <param name="model">Model the spec is resolved for.</param>
    /// <exception cref="LatentSpecException">Unknown preset or setting, a value out of range, or values that exclude each other.</exception>
    public static LatentSpec Parse(string preset, IEnumerable<string> settings, ModelConfig model)
    {
        var parser = new LatentSpecParser(model);
        parser.Collect(settings);
        var spec = parser.Resolve(preset);
        return parser._errors.Count == 0 ? spec! : throw new LatentSpecException(parser._errors);
    }

    /// <summary>
    /// Sequences of at most this many tokens are served exactly. Constants, never measured when a server starts, so that a request's text does not depend on the
    /// machine: the shortest lengths from which compressed attention is not slower than exact attention in any batch of 8 rows and more.
    /// </summary>
    public static int DefaultDenseBelow(ModelConfig model) => model.GroupSize > 1 ? GroupedDenseBelow : UngroupedDenseBelow;

    /// <summary>
    /// Share of D that a compressed preset keeps as latent coordinates. A preset names bytes: those of 16-bit coordinates for a quarter or an eighth of D (the paper's method),
    /// which int8 latents spend on twice as many coordinates, because that loses less (docs/accuracy.md), and int4 ones on four times as many. Float32, the reference, has the coordinates of 16 bits.
    /// </summary>
    public static double RankRatioOf(string preset, LatentFormat format) => (preset == "sals-12.5" ? 0.125 : 0.25) * (format == LatentFormat.Int8 ? 2 : format == LatentFormat.Int4 ? 4 : 1);

    /// <summary>The largest share that any preset keeps: what a basis is calibrated with that shall serve them all.</summary>
    public static double LargestRankRatio => Presets.Where(preset => preset != "dense").Max(preset => RankRatioOf(preset, LatentFormat.Int8));

    /// <summary>Groups of KV heads with a basis of their own: 1 up to D = 1,024, over that the fewest that have at most 1,024 channels each, if these are at least 256.</summary>
    public static int DefaultBasisGroups(ModelConfig model)
    {
        var groups = 1;
        while (groups < model.KeyValueHeadCount && (model.KeyWidth / groups > WidestBasis || model.KeyValueHeadCount % groups != 0))
        {
            groups++;
        }

        return model.KeyWidth / groups >= NarrowestBasis ? groups : 1;
    }

    public static string NameOf(LatentFormat format) => format switch
    {
        LatentFormat.Float32 => "float32",
        LatentFormat.BFloat16 => "bf16",
        LatentFormat.Int8 => "int8",
        _ => "int4",
    };

    private void Collect(IEnumerable<string> settings)
    {
        foreach (var setting in settings)
        {
            var equals = setting.IndexOf('=', StringComparison.Ordinal);
            var key = equals < 0 ? setting.Trim() : setting[..equals].Trim();
            if (equals < 0)
            {
                _errors.Add($"--sals {setting}: expected KEY=VALUE.");
            }
            else if (!Settings.Any(s => s.Key == key))
            {
                _errors.Add($"--sals {key}: no such setting; there are {string.Join(", ", Settings.Select(s => s.Key))}.");
            }
            else
            {
                _values[key] = setting[(equals + 1)..].Trim();
            }
        }
    }

    private LatentSpec? Resolve(string preset)
    {
        var valueBits = 4;
        switch (preset)
        {
            case "sals-25":
                break;
            case "sals-12.5":
                valueBits = 2;
                break;
            case "dense":
                if (_values.Keys.FirstOrDefault(key => key != "dense_format") is { } meaningless)
                {
                    _errors.Add($"--sals {meaningless}: has no meaning with --kv-cache dense.");
                }

                return LatentSpec.Dense(_model.LayerCount) with { DenseInt8 = Choice("dense_format", "exact", "int8") };
            default:
                _errors.Add($"--kv-cache {preset}: expected one of {string.Join(", ", Presets)}.");
                return null;
        }

        var width = _model.KeyWidth;
        Exclude("rank", "rank_ratio");
        Exclude("score_rank", "score_ratio");
        Exclude("critical", "sparsity");
        Exclude("critical", "critical_min");
        Exclude("critical", "critical_max");
        Exclude("critical", "critical_mass");
        Exclude("sparsity", "critical_mass");
        Exclude("layer_ranks", "rank");
        Exclude("layer_ranks", "rank_ratio");
        var format = Format();
        var groups = Groups();
        var layers = Layers();
        var layerRanks = LayerRanks(_model.LayerCount - layers.Length, groups);
        var rank = layerRanks.Length > 0 ? layerRanks.Max() : Integer("rank", RoundedShare(Ratio("rank_ratio", RankRatioOf(preset, format)), width, groups), 1, width);
        var (mean, least) = layerRanks.Length > 0 ? (layerRanks.Sum() / layerRanks.Length, layerRanks.Min()) : (rank, rank);
        var mostScored = format.IsCoded() && !_values.ContainsKey("score_ratio") ? MostScoredCodes / (CoordinateStep * groups) * CoordinateStep * groups : int.MaxValue;
        var scoreRank = Integer("score_rank", Math.Min(Math.Min(RoundedShare(Ratio("score_ratio", 0.5), mean, groups), mostScored), least), 1, least);
        var critical = Integer("critical", 0, 1, int.MaxValue);
        var lifted = _values.ContainsKey("sparsity") || _values.ContainsKey("critical_mass");
        var basis = Kind();
        var spec = new LatentSpec
        {
            Name = preset,
            LayerCount = _model.LayerCount,
            DenseLayers = layers,
            Rank = rank,
            LayerRanks = layerRanks,
            ScoreRank = scoreRank,
            BasisGroups = groups,
            SinkTokens = Integer("sink_tokens", 16, 0, 64),
            RecentTokens = Integer("recent_tokens", 64, 1, 65536),
            Sparsity = Integer("sparsity", 8, 1, int.MaxValue),
            CriticalMin = critical > 0 ? critical : Integer("critical_min", lifted ? 1 : 432, 1, int.MaxValue),
            CriticalMax = critical > 0 ? critical : Integer("critical_max", lifted ? int.MaxValue : 2048, 1, int.MaxValue),
            CriticalMass = Mass(),
            ValueBits = Integer("value_bits", valueBits, 2, 16),
            ValueGroup = Integer("value_group", 32, 32, Math.Max(width, 32)),
            RotateValues = Choice("value_rotation", "none", "hadamard"),
            DenseBelow = Integer("dense_below", DefaultDenseBelow(_model), 0, int.MaxValue),
            DenseInt8 = Choice("dense_format", "exact", "int8"),
            LatentFormat = format,
            ScoreRope = Choice("score_rope", "none", "bands"),
            ScoreHeads = Choice("score_heads", "sum", "zscore"),
            Centred = Flag("centred", format.IsCoded() || basis == BasisKind.Queries),
            Basis = basis,
        };
        CheckTogether(spec);
        return spec;
    }

    private void CheckTogether(LatentSpec spec)
    {
        if (spec.ValueBits is not (2 or 3 or 4 or 16))
        {
            _errors.Add($"--sals value_bits={spec.ValueBits}: expected 2, 3, 4 or 16.");
        }

        if (spec.ValueBits != 16 && (spec.ValueGroup % 32 != 0 || _model.KeyWidth % spec.ValueGroup != 0))
        {
            _errors.Add($"--sals value_group={spec.ValueGroup}: expected a multiple of 32 that divides the key width D = {_model.KeyWidth}.");
        }

        foreach (var (key, value) in new[] { ("rank", spec.Rank), ("score_rank", spec.ScoreRank) })
        {
            if (value % spec.BasisGroups != 0)
            {
                _errors.Add($"--sals {key}={value}: expected a multiple of basis_groups={spec.BasisGroups}, so that every group keeps as many coordinates.");
            }
        }

        if (spec.CriticalMin > spec.CriticalMax)
        {
            _errors.Add($"--sals critical_min={spec.CriticalMin}: is more than critical_max={spec.CriticalMax}.");
        }

        if (spec.LatentFormat.IsCoded() && !spec.Centred)
        {
            _errors.Add($"--sals latent_format={NameOf(spec.LatentFormat)}: needs centred=true, because codes are symmetric around 0.");
        }

        if (spec.Basis == BasisKind.Queries && !spec.Centred)
        {
            _errors.Add("--sals basis=queries: needs centred=true.");
        }

        if (spec.LatentFormat == LatentFormat.Int4 && (spec.Rank % 2 != 0 || spec.ScoreRank % 2 != 0))
        {
            _errors.Add($"--sals latent_format=int4: needs an even rank and score_rank, found {spec.Rank} and {spec.ScoreRank}.");
        }

        if (spec.RotateValues && (_model.HeadSize & (_model.HeadSize - 1)) != 0)
        {
            _errors.Add($"--sals value_rotation=hadamard: needs a head size that is a power of two, found {_model.HeadSize}.");
        }

        if (spec.LatentFormat.IsCoded() && spec.ScoreRank > MostScoredCodes)
        {
            _errors.Add($"--sals score_rank={spec.ScoreRank}: latent_format {NameOf(spec.LatentFormat)} scores at most {MostScoredCodes} coordinates, so that sums are exact in 32 bits.");
        }
    }

    private void Exclude(string one, string other)
    {
        if (_values.ContainsKey(one) && _values.ContainsKey(other))
        {
            _errors.Add($"--sals {one} and {other}: give one of the two.");
        }
    }

    /// <summary>A share of a number of coordinates, rounded up to a multiple of 16 for each group, at most all.</summary>
    public static int RoundedShare(double ratio, int of, int groups = 1)
    {
        var step = CoordinateStep * groups;
        return Math.Min(of, ((int)Math.Ceiling(ratio * of) + step - 1) / step * step);
    }

    private int Integer(string key, int otherwise, int least, int most)
    {
        if (!_values.TryGetValue(key, out var text))
        {
            return otherwise;
        }

        if (int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value) && value >= least && value <= most)
        {
            return value;
        }

        _errors.Add(most == int.MaxValue
            ? $"--sals {key}={text}: expected a whole number of at least {least}."
            : $"--sals {key}={text}: expected a whole number from {least} to {most}.");
        return otherwise;
    }

    // 1 in place of a wrong value, so that what depends on it is not wrong too
    private int Groups()
    {
        var groups = Integer("basis_groups", DefaultBasisGroups(_model), 1, _model.KeyValueHeadCount);
        if (_model.KeyValueHeadCount % groups == 0)
        {
            return groups;
        }

        _errors.Add($"--sals basis_groups={groups}: expected a divisor of the model's {_model.KeyValueHeadCount} KV heads.");
        return 1;
    }

    private double Ratio(string key, double otherwise)
    {
        if (!_values.TryGetValue(key, out var text))
        {
            return otherwise;
        }

        if (double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var value) && value > 0 && value <= 1)
        {
            return value;
        }

        _errors.Add($"--sals {key}={text}: expected a number over 0 and up to 1.");
        return otherwise;
    }

    private double Mass()
    {
        var mass = _values.ContainsKey("critical_mass") ? Ratio("critical_mass", 0.5) : 0;
        if (mass == 1)
        {
            _errors.Add("--sals critical_mass=1: expected a number over 0 and below 1; all tokens are critical_min=1000000000.");
        }

        return mass;
    }

    /// <param name="count">Compressed layers.</param>
    private int[] LayerRanks(int count, int groups)
    {
        if (!_values.TryGetValue("layer_ranks", out var text))
        {
            return [];
        }

        int[] ranks = [.. text.Split(',', StringSplitOptions.TrimEntries).Select(part => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out var rank) ? rank : 0)];
        var step = CoordinateStep * groups;
        if (ranks.Length == count && ranks.All(rank => rank > 0 && rank % step == 0 && rank <= _model.KeyWidth))
        {
            return ranks;
        }

        _errors.Add($"--sals layer_ranks={text}: expected {count} multiples of {step} up to the key width D = {_model.KeyWidth}, one for each compressed layer.");
        return [];
    }

    private bool Flag(string key, bool otherwise)
    {
        if (!_values.TryGetValue(key, out var text))
        {
            return otherwise;
        }

        if (text is "true" or "false")
        {
            return text == "true";
        }

        _errors.Add($"--sals {key}={text}: expected true or false.");
        return otherwise;
    }

    // false for the first word, which is also the default, true for the second
    private bool Choice(string key, string no, string yes)
    {
        var text = _values.GetValueOrDefault(key, no);
        if (text != no && text != yes)
        {
            _errors.Add($"--sals {key}={text}: expected {no} or {yes}.");
        }

        return text == yes;
    }

    private LatentFormat Format()
    {
        switch (_values.GetValueOrDefault("latent_format"))
        {
            case null or "int8":
                return LatentFormat.Int8;
            case "float32":
                return LatentFormat.Float32;
            case "bf16":
                return LatentFormat.BFloat16;
            case "int4":
                return LatentFormat.Int4;
            case var text:
                _errors.Add($"--sals latent_format={text}: expected float32, bf16, int8 or int4.");
                return LatentFormat.Int8;
        }
    }

    private BasisKind Kind()
    {
        switch (_values.GetValueOrDefault("basis"))
        {
            case null or "keys":
                return BasisKind.Keys;
            case "queries":
                return BasisKind.Queries;
            case var text:
                _errors.Add($"--sals basis={text}: expected keys or queries.");
                return BasisKind.Keys;
        }
    }

    private int[] Layers()
    {
        var count = _model.LayerCount;
        var text = _values.GetValueOrDefault("dense_layers", "auto");
        if (text is "auto" or "none")
        {
            return text == "none" ? [] : LatentSpec.DefaultDenseLayers(count);
        }

        var layers = new SortedSet<int>();
        foreach (var part in text.Split(',', StringSplitOptions.TrimEntries))
        {
            var layer = part == "last" ? count - 1 : int.TryParse(part, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var n) ? n : int.MinValue;
            layer = layer < 0 && layer >= -count ? layer + count : layer;
            if (layer < 0 || layer >= count)
            {
                _errors.Add($"--sals dense_layers={text}: {part} is no layer of a model with {count} layers.");
                return [];
            }

            layers.Add(layer);
        }

        return [.. layers];
    }
}
