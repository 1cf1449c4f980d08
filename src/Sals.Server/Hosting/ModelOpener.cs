using System.Globalization;
using Sals.Engine;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Text;
using Sals.Engine.Text.Jinja;
using Sals.Kernels.Cuda.Interop;
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
        var path = ModelLocator.ForThisProcess.Locate(options.Model);
        var dummy = options.LoadFormat == LoadFormat.Dummy;
        var skip = options.SkipTokenizer || (dummy && TokenizerFiles.Of(path) is { TokenizerJson: null, SentencePiece: null });
        var tokenizer = skip ? null : TokenizerLoader.Open(path);
        var names = skip ? new TokenizerConfig() : TokenizerConfig.Read(path);
        var folder = ModelFolder.Open(path, names.EosToken is { } end ? tokenizer?.TokenId(end) : null, options.LoadFormat);
        try
        {
            var config = folder.Config;
            var device = DevicePlan.For(options, config, NativeLibraries.Probe);
            var root = options.Model ?? EmbeddedName;
            var vocabulary = Math.Min(config.VocabularySize, tokenizer?.VocabularySize ?? config.VocabularySize);
            var cache = CacheSettings.Resolve(options, path, folder, tokenizer, device.Gpu is not null, calibration with { Device = device }, say);
            var (spec, basis) = (cache.Spec, cache.Basis);
            var backend = device.Gpu is { } gpu ? BackendPlan.Cuda(options, folder, spec, basis, vocabulary, gpu, say) : BackendPlan.Cpu(options, folder, spec, basis, vocabulary);
            var template = tokenizer is null ? null : ChatTemplate.Load(path, options.ChatTemplateFile);
            var formats = AnswerFormats.Resolve(options, template, tokenizer);
            var layout = new PageLayout(config, spec, backend.ExactType);
            string?[] notes = [device.Note, cache.Note];
            return new LoadedModel
            {
                Root = root,
                Names = options.ServedModelNames.Length > 0 ? options.ServedModelNames : [root],
                Config = config,
                Tokenizer = tokenizer,
                Template = template is null ? null : ChatRendering.With(template),
                Formats = formats,
                Defaults = options.UseGenerationConfig ? folder.Generation : GenerationDefaults.None,
                EndTokenIds = config.EndTokenIds,
                VocabularySize = vocabulary,
                EngineOptions = new EngineOptions
                {
                    PrefixCaching = options.PrefixCaching,
                    MaxBatchedTokens = options.MaxBatchedTokens,
                    MaxWaiting = options.MaxQueued + options.MaxSequences,
                    StepTimeout = options.WatchdogTimeout,
                    Fingerprint = $"{path}|{spec.Describe()}|{basis?.Fingerprint}",
                },
                KvCache = spec.Name,
                Facts = [ModelFact(root, config), backend.Device, .. MemoryBudget.Pools(layout, config.LayerCount), .. notes.Append(formats.Describe()).OfType<string>()],
                Budget = backend.Budget,
                Warnings = [.. dummy ? ["--load-format dummy: the weights are random numbers and so is the text"] : Array.Empty<string>(), .. SlidingWindow(config), .. backend.Warnings],
                CreateBackend = backend.Create,
                Resources = folder,
            };
        }
        catch
        {
            folder.Dispose();
            throw;
        }
    }

    private static string ModelFact(string root, ModelConfig config) => string.Create(CultureInfo.InvariantCulture,
        $"Model: {root}, {config.Architecture}, {config.LayerCount} layers, hidden {config.HiddenSize}, {config.HeadCount} heads of {config.HeadSize} ({config.KeyValueHeadCount} KV), vocabulary {config.VocabularySize:#,0}");

    private static IEnumerable<string> SlidingWindow(ModelConfig config)
    {
        if (config.SlidingWindow is { } window)
        {
            yield return string.Create(CultureInfo.InvariantCulture,
                $"The model attends to a sliding window of {window:#,0} tokens, which this server does not run past: max-model-len is at most {config.MaxModelLength:#,0}");
        }
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
