using System.Globalization;

namespace Sals.Engine.Latent;

/// <summary>
/// The KEY=VALUE of --sals as typed values. What is not there has its default; what is wrong is noted in <see cref="Errors"/>, one sentence each, and read as its default, so that
/// every wrong setting is named at once.
/// </summary>
internal sealed class LatentSettings
{
    /// <summary>Names and meanings of the settings, for help texts.</summary>
    public static readonly (string Key, string Meaning)[] All =
    [
        ("rank_ratio", "share of D kept as latent coordinates, over 0 to 1, rounded up to a multiple of 16; not set = the preset's bytes: twice as many in int8 as in bf16"),
        ("rank", "latent coordinates, instead of rank_ratio"),
        ("layer_ranks", "latent coordinates of each compressed layer in order, comma-separated multiples of 16, instead of rank ('sals analyze' suggests some); CPU only"),
        ("score_ratio", "share of the latent coordinates that scoring reads, over 0 to 1, rounded up to a multiple of 16; not set = half, of codes at most 192 for every 1024 key channels"),
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

    /// <param name="settings">KEY=VALUE, later ones win.</param>
    public LatentSettings(IEnumerable<string> settings)
    {
        foreach (var setting in settings)
        {
            var equals = setting.IndexOf('=', StringComparison.Ordinal);
            var key = equals < 0 ? setting.Trim() : setting[..equals].Trim();
            if (equals < 0)
            {
                Wrong($"--sals {setting}: expected KEY=VALUE.");
            }
            else if (!All.Any(s => s.Key == key))
            {
                Wrong($"--sals {key}: no such setting; there are {string.Join(", ", All.Select(s => s.Key))}.");
            }
            else
            {
                _values[key] = setting[(equals + 1)..].Trim();
            }
        }
    }

    public IReadOnlyList<string> Errors => _errors;

    /// <summary>Settings that are given.</summary>
    public IEnumerable<string> Keys => _values.Keys;

    public bool Has(string key) => _values.ContainsKey(key);

    /// <summary>Null where the setting is not given.</summary>
    public string? Text(string key) => _values.GetValueOrDefault(key);

    /// <summary>Notes an error.</summary>
    public void Wrong(string error) => _errors.Add(error);

    /// <summary>Two settings that say the same thing.</summary>
    public void Exclude(string one, string other)
    {
        if (_values.ContainsKey(one) && _values.ContainsKey(other))
        {
            Wrong($"--sals {one} and {other}: give one of the two.");
        }
    }

    public int Integer(string key, int otherwise, int least, int most)
    {
        if (!_values.TryGetValue(key, out var text))
        {
            return otherwise;
        }

        if (int.TryParse(text, NumberStyles.AllowLeadingSign, CultureInfo.InvariantCulture, out var value) && value >= least && value <= most)
        {
            return value;
        }

        Wrong(most == int.MaxValue
            ? $"--sals {key}={text}: expected a whole number of at least {least}."
            : $"--sals {key}={text}: expected a whole number from {least} to {most}.");
        return otherwise;
    }

    /// <summary>A share, over 0 to 1.</summary>
    public double Ratio(string key, double otherwise)
    {
        if (!_values.TryGetValue(key, out var text))
        {
            return otherwise;
        }

        if (double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var value) && value > 0 && value <= 1)
        {
            return value;
        }

        Wrong($"--sals {key}={text}: expected a number over 0 and up to 1.");
        return otherwise;
    }

    public bool Flag(string key, bool otherwise)
    {
        if (!_values.TryGetValue(key, out var text))
        {
            return otherwise;
        }

        if (text is "true" or "false")
        {
            return text == "true";
        }

        Wrong($"--sals {key}={text}: expected true or false.");
        return otherwise;
    }

    /// <summary>False for the first word, which is also the default, true for the second.</summary>
    public bool Choice(string key, string no, string yes)
    {
        var text = _values.GetValueOrDefault(key, no);
        if (text != no && text != yes)
        {
            Wrong($"--sals {key}={text}: expected {no} or {yes}.");
        }

        return text == yes;
    }
}
