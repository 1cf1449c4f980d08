using System.Globalization;
using Sals.Engine;
using Sals.Engine.Backends.Cpu;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Text;
using Sals.Engine.Text.Jinja;
using Sals.Server.Options;

namespace Sals.Server.Hosting;

/// <summary>Settings to a model that is ready to be built: folder, tokenizer, template, memory plan, and how its backend is made.</summary>
public static class ModelOpener
{
    /// <summary>Name of the embedded model.</summary>
    public const string EmbeddedName = "sals-tiny";

    /// <exception cref="ModelLoadException">The folder or one of its files cannot be used.</exception>
    /// <exception cref="TokenizerException">The tokenizer cannot be used.</exception>
    /// <exception cref="TemplateException">The chat template cannot be read.</exception>
    /// <exception cref="SettingException">A setting does not fit the model or the machine.</exception>
    /// <param name="say">Told in a line what takes long before it begins.</param>
    public static LoadedModel Open(SalsOptions options, Action<string> say) => Open(options, StartCalibration.ForThisProcess, say);

    internal static LoadedModel Open(SalsOptions options, StartCalibration calibration, Action<string> say)
    {
        if (options.Device == DeviceChoice.Cuda)
        {
            throw new SettingException("--device cuda: this build has no CUDA backend yet; use --device cpu");
        }

        var path = ModelLocator.ForThisProcess.Locate(options.Model);
        var tokenizer = options.SkipTokenizer ? null : TokenizerLoader.Open(path);
        var names = options.SkipTokenizer ? new TokenizerConfig() : TokenizerConfig.Read(path);
        var folder = ModelFolder.Open(path, names.EosToken is { } end ? tokenizer?.TokenId(end) : null);
        try
        {
            var config = folder.Config;
            var (spec, basis, note) = CacheSettings.Resolve(options, path, folder, tokenizer, calibration, say);
            var plan = CachePlan.For(options, config, spec, ElementType.Float32, GC.GetGCMemoryInfo().TotalAvailableMemoryBytes);
            var root = options.Model ?? EmbeddedName;
            var vocabulary = Math.Min(config.VocabularySize, tokenizer?.VocabularySize ?? config.VocabularySize);
            var cpu = new CpuBackendOptions
            {
                Slots = options.MaxSequences,
                MaxModelLength = plan.MaxModelLength,
                CacheBytes = plan.CacheBytes,
                Spec = spec,
                Basis = basis,
                SampleableVocabulary = vocabulary,
            };
            return new LoadedModel
            {
                Root = root,
                Names = options.ServedModelNames.Length > 0 ? options.ServedModelNames : [root],
                Config = config,
                Tokenizer = tokenizer,
                Template = tokenizer is not null && ChatTemplate.Load(path, options.ChatTemplateFile) is { } template ? ChatRendering.With(template) : null,
                Defaults = options.UseGenerationConfig ? folder.Generation : GenerationDefaults.None,
                EndTokenIds = config.EndTokenIds,
                VocabularySize = vocabulary,
                EngineOptions = new EngineOptions
                {
                    PrefixCaching = options.PrefixCaching,
                    MaxBatchedTokens = options.MaxBatchedTokens,
                    MaxWaiting = options.MaxQueued + options.MaxSequences,
                    Fingerprint = $"{path}|{spec.Describe()}|{basis?.Fingerprint}",
                },
                KvCache = spec.Name,
                Facts = [.. Facts(root, config, cpu), .. MemoryBudget.Pools(new PageLayout(config, spec, ElementType.Float32), config.LayerCount), .. note is null ? Array.Empty<string>() : [note]],
                Budget = plan.Describe(options.MaxSequences),
                Warnings = Warnings(config, plan),
                CreateBackend = () => new CpuBackend(folder.Weights, cpu),
                Resources = folder,
            };
        }
        catch
        {
            folder.Dispose();
            throw;
        }
    }

    private static string[] Facts(string root, ModelConfig config, CpuBackendOptions cpu) =>
    [
        string.Create(CultureInfo.InvariantCulture,
            $"Model: {root}, {config.Architecture}, {config.LayerCount} layers, hidden {config.HiddenSize}, {config.HeadCount} heads of {config.HeadSize} ({config.KeyValueHeadCount} KV), vocabulary {config.VocabularySize:#,0}"),
        string.Create(CultureInfo.InvariantCulture,
            $"Device: cpu, {cpu.Threads} threads, vectors of {System.Numerics.Vector<byte>.Count * 8} bits; max-model-len {cpu.MaxModelLength:#,0}; cache {cpu.Spec.Describe()}"),
    ];

    private static List<string> Warnings(ModelConfig config, CachePlan plan)
    {
        List<string> warnings = [];
        if (config.SlidingWindow is { } window)
        {
            warnings.Add(string.Create(CultureInfo.InvariantCulture,
                $"The model attends to a sliding window of {window:#,0} tokens, which this server does not run past: max-model-len is at most {config.MaxModelLength:#,0}"));
        }

        if (plan.Shortened)
        {
            warnings.Add(string.Create(CultureInfo.InvariantCulture,
                $"max-model-len auto became {plan.MaxModelLength:#,0} of the model's {config.MaxModelLength:#,0} tokens, what the cache memory holds; raise --kv-cache-memory-bytes for more"));
        }

        return warnings;
    }
}

/// <summary>A setting that does not fit this model or machine; the message begins with its flag.</summary>
public sealed class SettingException : Exception
{
    public SettingException(string message)
        : base(message)
    {
    }
}
