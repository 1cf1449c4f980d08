using System.Globalization;
using Sals.Engine.Latent;

namespace Sals.Server.Commands;

/// <summary>A cache to evaluate: a preset, its changes, and what tables call it.</summary>
/// <param name="Settings">KEY=VALUE, as --sals takes them.</param>
internal sealed record EvalCache(string Label, string Preset, string[] Settings)
{
    private static readonly string[] CriticalKeys = ["critical", "critical_mass", "critical_min", "critical_max", "sparsity"];
    private static readonly string[] BasisKeys = ["rank", "layer_ranks", "rank_ratio", "score_rank", "score_ratio", "value_bits", "value_group", "latent_format", .. CriticalKeys];

    /// <summary>
    /// Caches of a list separated by commas: PRESET or PRESET/KEY=VALUE/..., in which + stands for the commas of a value. Accuracy is measured with dense_below=0 and
    /// sparsity=8 (every length compressed, length / 8 tokens selected) unless settings say otherwise.
    /// </summary>
    /// <param name="common">--sals, for all compressed caches.</param>
    /// <exception cref="ArgumentException">The list is empty, names one cache twice, or something else is in the place of a setting.</exception>
    public static List<EvalCache> Parse(string list, string[] common)
    {
        List<EvalCache> caches = [];
        foreach (var text in list.Split(',', StringSplitOptions.TrimEntries | StringSplitOptions.RemoveEmptyEntries))
        {
            var parts = text.Split('/');
            string[] own = [.. common, .. parts[1..].Select(part => part.Contains('=', StringComparison.Ordinal)
                ? part.Replace('+', ',')
                : throw new ArgumentException($"--kv-cache {text}: expected PRESET/KEY=VALUE/..., found '{part}'."))];
            caches.Add(parts[0] == "dense" ? new EvalCache(text, parts[0], []) : new EvalCache(text, parts[0], WithDefaults(own)));
        }

        return caches.Count == 0 ? throw new ArgumentException("--kv-cache: expected at least one cache.")
            : caches.DistinctBy(cache => cache.Label).Count() < caches.Count ? throw new ArgumentException($"--kv-cache {list}: one cache is named twice.")
            : caches;
    }

    /// <summary>Each preset taken apart: only its keys, only its values, only its selection, all of it; the exact cache first.</summary>
    /// <exception cref="ArgumentException">A compressed cache changes what is to be taken apart.</exception>
    public static List<EvalCache> Ablations(IReadOnlyList<EvalCache> caches)
    {
        List<EvalCache> all = [.. caches.Where(cache => cache.Preset == "dense")];
        foreach (var cache in caches.Where(cache => cache.Preset != "dense"))
        {
            string[] kept = [.. cache.Settings.Where(setting => !CriticalKeys.Contains(Key(setting)))];
            if (kept.FirstOrDefault(setting => BasisKeys.Contains(Key(setting))) is { } changed)
            {
                throw new ArgumentException($"--ablations: takes presets apart, whose {Key(changed)} must not be changed; found '{changed}'.");
            }

            // the scored coordinates of the preset, of a basis that keeps all of the key; above 768 channels sals-25 itself scores fewer (LatentPresets.MostScored)
            var scored = (LatentPresets.RankRatio(cache.Preset, LatentFormat.Int8) / 2).ToString(CultureInfo.InvariantCulture);
            all.Add(new EvalCache($"{cache.Label} keys only", cache.Preset, [.. kept, "value_bits=16", "sparsity=1"]));
            all.Add(new EvalCache($"{cache.Label} values only", cache.Preset, [.. kept, "latent_format=bf16", "rank_ratio=1", "sparsity=1"]));
            all.Add(new EvalCache($"{cache.Label} selection only", cache.Preset, [.. cache.Settings, "rank_ratio=1", $"score_ratio={scored}", "value_bits=16"]));
            all.Add(cache with { Label = $"{cache.Label} all" });
        }

        return all;
    }

    private static string[] WithDefaults(string[] settings) =>
        ["dense_below=0", .. settings.Any(setting => CriticalKeys.Contains(Key(setting))) ? Array.Empty<string>() : ["sparsity=8"], .. settings];

    private static string Key(string setting) => setting.Split('=')[0].Trim();
}
