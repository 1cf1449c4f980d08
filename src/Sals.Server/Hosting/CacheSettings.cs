using System.Globalization;
using Sals.Engine.Backends.Cuda;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Text;
using Sals.Server.Options;

namespace Sals.Server.Hosting;

/// <summary>--kv-cache, --sals and --basis to cache settings for one model and the basis they need.</summary>
/// <param name="Basis">Null when the cache is dense.</param>
/// <param name="Note">Why the cache is dense although nobody asked for that; null otherwise.</param>
public sealed record CacheSettings(LatentSpec Spec, LatentBasis? Basis, string? Note = null)
{
    /// <summary>Where a model's own basis lies in its folder, of all KV heads together or of as many groups of them.</summary>
    public static string BasisNameOf(int groups) => groups == 1 ? "sals-basis.safetensors" : $"sals-basis-groups-{groups}.safetensors";

    /// <summary>
    /// The basis is --basis, else the one in the model's folder. With an explicit preset and neither, one is made from bundled text and kept in the user's
    /// cache folder; auto is dense then. Random weights get a random one.
    /// </summary>
    /// <param name="tokenizer">Needed to make a basis; null = --skip-tokenizer-init.</param>
    /// <param name="gpu">For the CUDA backend: what its kernels cannot keep is refused.</param>
    /// <param name="say">Told when a basis is going to be made.</param>
    /// <exception cref="SettingException">A value is wrong, or there is no basis that fits and none can be made.</exception>
    public static CacheSettings Resolve(
        SalsOptions options, string path, ModelFolder folder, Tokenizer? tokenizer, bool gpu, StartCalibration calibration, Action<string> say)
    {
        try
        {
            var spec = LatentSpecParser.Parse(options.KvCache == "auto" ? LatentPresets.Default : options.KvCache, options.CacheSettings, folder.Config);
            var file = options.BasisFile ?? Path.Combine(path, BasisNameOf(spec.BasisGroups));
            var exists = File.Exists(file);
            if (options.KvCache == "auto" && !exists)
            {
                spec = LatentSpecParser.Parse("dense", options.CacheSettings, folder.Config);
            }

            if (gpu && CudaBackend.Unsupported(spec, folder.Config) is { } problem)
            {
                throw new SettingException($"--sals {problem}");
            }

            if (spec.IsDense)
            {
                return new CacheSettings(spec, null, options.KvCache == "auto" && !exists ? Why(file, options) : null);
            }

            if (options.LoadFormat == LoadFormat.Dummy && !exists)
            {
                return new CacheSettings(spec, RandomLatentBasis.Of(spec, folder.Config));
            }

            var fingerprint = ModelFingerprint.Of(folder.Weights);
            return new CacheSettings(spec, exists || options.BasisFile is not null
                ? LatentBasisFile.Read(file, spec, folder.Config, fingerprint)
                : Made(spec, folder, fingerprint, tokenizer, calibration, Command(options, spec, folder.Config), say));
        }
        catch (Exception e) when (e is LatentSpecException or LatentBasisException)
        {
            throw new SettingException(e.Message);
        }
    }

    private static LatentBasis Made(
        LatentSpec spec, ModelFolder folder, string fingerprint, Tokenizer? tokenizer, StartCalibration calibration, string command, Action<string> say)
    {
        var file = calibration.FileOf(fingerprint, spec.BasisGroups);
        if (File.Exists(file))
        {
            try
            {
                return LatentBasisFile.Read(file, spec, folder.Config, fingerprint);
            }
            catch (LatentBasisException)
            {
                // of a lower rank or an older version: made again below
            }
        }

        if (tokenizer is null)
        {
            throw new SettingException($"--kv-cache {spec.Name}: there is no basis, and without a tokenizer (--skip-tokenizer-init) none can be made; make one with: {command}");
        }

        var usual = LatentPresets.RoundedShare(LatentPresets.LargestRankRatio, folder.Config.KeyWidth, spec.BasisGroups);
        calibration.Run(folder, fingerprint, tokenizer, Math.Max(spec.Rank, usual), spec.BasisGroups, command, say);
        return LatentBasisFile.Read(file, spec, folder.Config, fingerprint);
    }

    private static string Why(string file, SalsOptions options) =>
        $"Cache: dense, because there is no basis {file}; for the compressed cache give --kv-cache {LatentPresets.Default}, or run: {Command(options, null, null)}";

    private static string Command(SalsOptions options, LatentSpec? spec, ModelConfig? config)
    {
        var model = options.Model is null ? "" : $" --model {options.Model}";
        var ranks = spec is not null && spec.Rank > LatentPresets.RoundedShare(LatentPresets.LargestRankRatio, config!.KeyWidth, spec.BasisGroups)
            ? string.Create(CultureInfo.InvariantCulture, $" --ranks {(double)spec.Rank / config.KeyWidth:0.####}")
            : "";
        var groups = spec is not null && spec.BasisGroups != LatentPresets.BasisGroups(config!) ? $" --basis-groups {spec.BasisGroups}" : "";
        return $"sals calibrate{model} --data FILE...{ranks}{groups}";
    }
}
