using System.Globalization;
using Sals.Engine.Models;

namespace Sals.Engine.Latent;

/// <summary>
/// --kv-cache PRESET with any number of --sals KEY=VALUE → <see cref="LatentSpec"/> for one model. Every wrong setting is reported, not just the first.
/// </summary>
public sealed class LatentSpecParser
{
    private readonly LatentSettings _values;
    private readonly ModelConfig _model;

    private LatentSpecParser(IEnumerable<string> settings, ModelConfig model) => (_values, _model) = (new LatentSettings(settings), model);

    /// <summary>Names and meanings of the --sals settings, for help texts.</summary>
    public static IReadOnlyList<(string Key, string Meaning)> Keys => LatentSettings.All;

    /// <param name="preset">One of <see cref="LatentPresets.Names"/>.</param>
    /// <param name="settings">KEY=VALUE, later ones win.</param>
    /// <param name="model">Model the spec is resolved for.</param>
    /// <exception cref="LatentSpecException">Unknown preset or setting, a value out of range, or values that exclude each other.</exception>
    public static LatentSpec Parse(string preset, IEnumerable<string> settings, ModelConfig model)
    {
        var parser = new LatentSpecParser(settings, model);
        var spec = parser.Resolve(preset);
        return parser._values.Errors.Count == 0 ? spec! : throw new LatentSpecException(parser._values.Errors);
    }

    public static string NameOf(LatentFormat format) => format switch
    {
        LatentFormat.Float32 => "float32",
        LatentFormat.BFloat16 => "bf16",
        LatentFormat.Int8 => "int8",
        _ => "int4",
    };

    private LatentSpec? Resolve(string preset)
    {
        if (!LatentPresets.Names.Contains(preset))
        {
            _values.Wrong($"--kv-cache {preset}: expected one of {string.Join(", ", LatentPresets.Names)}.");
            return null;
        }

        if (preset == "dense")
        {
            if (_values.Keys.FirstOrDefault(key => key != "dense_format") is { } meaningless)
            {
                _values.Wrong($"--sals {meaningless}: has no meaning with --kv-cache dense.");
            }

            return LatentSpec.Dense(_model.LayerCount) with { DenseInt8 = _values.Choice("dense_format", "exact", "int8") };
        }

        var width = _model.KeyWidth;
        _values.Exclude("rank", "rank_ratio");
        _values.Exclude("score_rank", "score_ratio");
        _values.Exclude("critical", "sparsity");
        _values.Exclude("critical", "critical_min");
        _values.Exclude("critical", "critical_max");
        _values.Exclude("critical", "critical_mass");
        _values.Exclude("sparsity", "critical_mass");
        _values.Exclude("layer_ranks", "rank");
        _values.Exclude("layer_ranks", "rank_ratio");
        var format = Format();
        var groups = Groups();
        var layers = Layers();
        var layerRanks = LayerRanks(_model.LayerCount - layers.Length, groups);
        var rank = layerRanks.Length > 0 ? layerRanks.Max() : _values.Integer("rank", LatentPresets.RoundedShare(_values.Ratio("rank_ratio", LatentPresets.RankRatio(preset, format)), width, groups), 1, width);
        var (mean, least) = layerRanks.Length > 0 ? (layerRanks.Sum() / layerRanks.Length, layerRanks.Min()) : (rank, rank);
        var mostScored = format.IsCoded() && !_values.Has("score_ratio") ? LatentPresets.MostScored(width, groups) : int.MaxValue;
        var scoreRank = _values.Integer("score_rank", Math.Min(Math.Min(LatentPresets.RoundedShare(_values.Ratio("score_ratio", 0.5), mean, groups), mostScored), least), 1, least);
        var critical = _values.Integer("critical", 0, 1, int.MaxValue);
        var lifted = _values.Has("sparsity") || _values.Has("critical_mass");
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
            SinkTokens = _values.Integer("sink_tokens", 16, 0, 64),
            RecentTokens = _values.Integer("recent_tokens", 64, 1, 65536),
            Sparsity = _values.Integer("sparsity", 8, 1, int.MaxValue),
            CriticalMin = critical > 0 ? critical : _values.Integer("critical_min", lifted ? 1 : 432, 1, int.MaxValue),
            CriticalMax = critical > 0 ? critical : _values.Integer("critical_max", lifted ? int.MaxValue : 2048, 1, int.MaxValue),
            CriticalMass = Mass(),
            ValueBits = _values.Integer("value_bits", LatentPresets.ValueBits(preset), 2, 16),
            ValueGroup = _values.Integer("value_group", 32, 32, Math.Max(width, 32)),
            RotateValues = _values.Choice("value_rotation", "none", "hadamard"),
            DenseBelow = _values.Integer("dense_below", LatentPresets.DenseBelow, 0, int.MaxValue),
            DenseInt8 = _values.Choice("dense_format", "exact", "int8"),
            LatentFormat = format,
            ScoreRope = _values.Choice("score_rope", "none", "bands"),
            ScoreHeads = _values.Choice("score_heads", "sum", "zscore"),
            Centred = _values.Flag("centred", format.IsCoded() || basis == BasisKind.Queries),
            Basis = basis,
        };
        CheckTogether(spec);
        return spec;
    }

    private void CheckTogether(LatentSpec spec)
    {
        if (spec.ValueBits is not (2 or 3 or 4 or 16))
        {
            _values.Wrong($"--sals value_bits={spec.ValueBits}: expected 2, 3, 4 or 16.");
        }

        if (spec.ValueBits != 16 && (spec.ValueGroup % 32 != 0 || _model.KeyWidth % spec.ValueGroup != 0))
        {
            _values.Wrong($"--sals value_group={spec.ValueGroup}: expected a multiple of 32 that divides the key width D = {_model.KeyWidth}.");
        }

        foreach (var (key, value) in new[] { ("rank", spec.Rank), ("score_rank", spec.ScoreRank) })
        {
            if (value % spec.BasisGroups != 0)
            {
                _values.Wrong($"--sals {key}={value}: expected a multiple of basis_groups={spec.BasisGroups}, so that every group keeps as many coordinates.");
            }
        }

        if (spec.CriticalMin > spec.CriticalMax)
        {
            _values.Wrong($"--sals critical_min={spec.CriticalMin}: is more than critical_max={spec.CriticalMax}.");
        }

        if (spec.LatentFormat.IsCoded() && !spec.Centred)
        {
            _values.Wrong($"--sals latent_format={NameOf(spec.LatentFormat)}: needs centred=true, because codes are symmetric around 0.");
        }

        if (spec.Basis == BasisKind.Queries && !spec.Centred)
        {
            _values.Wrong("--sals basis=queries: needs centred=true.");
        }

        if (spec.LatentFormat == LatentFormat.Int4 && (spec.Rank % 2 != 0 || spec.ScoreRank % 2 != 0))
        {
            _values.Wrong($"--sals latent_format=int4: needs an even rank and score_rank, found {spec.Rank} and {spec.ScoreRank}.");
        }

        if (spec.RotateValues && (_model.HeadSize & (_model.HeadSize - 1)) != 0)
        {
            _values.Wrong($"--sals value_rotation=hadamard: needs a head size that is a power of two, found {_model.HeadSize}.");
        }

        if (spec.LatentFormat.IsCoded() && spec.ScoreRank > LatentFormatSize.MostScoredCodes)
        {
            _values.Wrong($"--sals score_rank={spec.ScoreRank}: latent_format {NameOf(spec.LatentFormat)} scores at most {LatentFormatSize.MostScoredCodes} coordinates, so that sums are exact in 32 bits.");
        }
    }

    // 1 in place of a wrong value, so that what depends on it is not wrong too
    private int Groups()
    {
        var groups = _values.Integer("basis_groups", LatentPresets.BasisGroups(_model), 1, _model.KeyValueHeadCount);
        if (_model.KeyValueHeadCount % groups == 0)
        {
            return groups;
        }

        _values.Wrong($"--sals basis_groups={groups}: expected a divisor of the model's {_model.KeyValueHeadCount} KV heads.");
        return 1;
    }

    private double Mass()
    {
        var mass = _values.Has("critical_mass") ? _values.Ratio("critical_mass", 0.5) : 0;
        if (mass == 1)
        {
            _values.Wrong("--sals critical_mass=1: expected a number over 0 and below 1; all tokens are critical_min=1000000000.");
        }

        return mass;
    }

    /// <param name="count">Compressed layers.</param>
    private int[] LayerRanks(int count, int groups)
    {
        if (_values.Text("layer_ranks") is not { } text)
        {
            return [];
        }

        int[] ranks = [.. text.Split(',', StringSplitOptions.TrimEntries).Select(part => int.TryParse(part, NumberStyles.None, CultureInfo.InvariantCulture, out var rank) ? rank : 0)];
        var step = LatentPresets.CoordinateStep * groups;
        if (ranks.Length == count && ranks.All(rank => rank > 0 && rank % step == 0 && rank <= _model.KeyWidth))
        {
            return ranks;
        }

        _values.Wrong($"--sals layer_ranks={text}: expected {count} multiples of {step} up to the key width D = {_model.KeyWidth}, one for each compressed layer.");
        return [];
    }

    private LatentFormat Format()
    {
        switch (_values.Text("latent_format"))
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
                _values.Wrong($"--sals latent_format={text}: expected float32, bf16, int8 or int4.");
                return LatentFormat.Int8;
        }
    }

    private BasisKind Kind()
    {
        switch (_values.Text("basis"))
        {
            case null or "keys":
                return BasisKind.Keys;
            case "queries":
                return BasisKind.Queries;
            case var text:
                _values.Wrong($"--sals basis={text}: expected keys or queries.");
                return BasisKind.Keys;
        }
    }

    private int[] Layers()
    {
        var count = _model.LayerCount;
        var text = _values.Text("dense_layers") ?? "auto";
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
                _values.Wrong($"--sals dense_layers={text}: {part} is no layer of a model with {count} layers.");
                return [];
            }

            layers.Add(layer);
        }

        return [.. layers];
    }
}
