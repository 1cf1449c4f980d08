using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Server.Options;

namespace Sals.Server.Hosting;

/// <summary>--kv-cache, --sals and --basis to cache settings for one model and the basis they need.</summary>
public static class CacheSettings
{
    /// <summary>Where a model's own basis lies in its folder.</summary>
    public const string BasisName = "sals-basis.safetensors";

    /// <exception cref="SettingException">A value is wrong, or there is no basis that fits.</exception>
    public static (LatentSpec Spec, LatentBasis? Basis) Resolve(SalsOptions options, string path, ModelFolder folder)
    {
        var file = options.BasisFile ?? Path.Combine(path, BasisName);
        var preset = options.KvCache != "auto" ? options.KvCache : File.Exists(file) ? LatentSpecParser.DefaultPreset : "dense";
        try
        {
            var spec = LatentSpecParser.Parse(preset, options.CacheSettings, folder.Config);
            if (spec.IsDense)
            {
                return (spec, null);
            }

            return File.Exists(file)
                ? (spec, LatentBasisFile.Read(file, spec, folder.Config, ModelFingerprint.Of(folder.Weights)))
                : throw new SettingException($"--kv-cache {preset}: there is no basis {file}; make one with: sals calibrate --model {options.Model} --data FILE...");
        }
        catch (Exception e) when (e is LatentSpecException or LatentBasisException)
        {
            throw new SettingException(e.Message);
        }
    }
}
