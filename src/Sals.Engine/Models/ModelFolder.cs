namespace Sals.Engine.Models;

/// <summary>
/// A model folder in Hugging Face layout, opened and checked: configuration, generation defaults, weights, and where the
/// tokenizer's files are. Nothing in the folder is executed.
/// </summary>
public sealed class ModelFolder : IDisposable
{
    private ModelFolder(string path, ModelWeights weights, GenerationDefaults generation)
    {
        Path = path;
        Weights = weights;
        Generation = generation;
        Tokenizer = TokenizerFiles.Of(path);
    }

    /// <summary>Absolute path of the folder.</summary>
    public string Path { get; }

    public ModelConfig Config => Weights.Config;

    public ModelWeights Weights { get; }

    public GenerationDefaults Generation { get; }

    public TokenizerFiles Tokenizer { get; }

    /// <summary>Opens a folder; <see cref="ModelLocator"/> finds it from the name a user gives.</summary>
    /// <param name="path">The folder.</param>
    /// <param name="tokenizerEndTokenId">Id of the tokenizer's eos_token, joined to <see cref="ModelConfig.EndTokenIds"/>; null when unknown.</param>
    /// <param name="format">Where weights come from; with <see cref="LoadFormat.Dummy"/> the folder needs only config.json.</param>
    /// <exception cref="ModelLoadException">The folder is missing, broken, or of a model that is not supported.</exception>
    public static ModelFolder Open(string path, int? tokenizerEndTokenId = null, LoadFormat format = LoadFormat.Auto)
    {
        path = System.IO.Path.GetFullPath(path);
        if (!Directory.Exists(path))
        {
            throw new ModelLoadException(path, null, "a model folder", File.Exists(path) ? "a file" : "nothing");
        }

        var config = ModelConfigReader.Read(path, tokenizerEndTokenId);
        var generation = GenerationDefaults.Read(path);
        var weights = format == LoadFormat.Dummy ? RandomWeights.Of(config) : ModelLoader.Load(new Checkpoint(path), config);
        return new ModelFolder(path, weights, generation);
    }

    public void Dispose() => Weights.Dispose();
}

/// <summary>Paths of a folder's tokenizer files; null = not there.</summary>
/// <param name="TokenizerJson">tokenizer.json.</param>
/// <param name="TokenizerConfig">tokenizer_config.json: special tokens, chat template.</param>
/// <param name="ChatTemplate">chat_template.jinja, which wins over the template of tokenizer_config.json.</param>
/// <param name="SpecialTokensMap">special_tokens_map.json.</param>
/// <param name="SentencePiece">tokenizer.model.</param>
public sealed record TokenizerFiles(string? TokenizerJson, string? TokenizerConfig, string? ChatTemplate, string? SpecialTokensMap, string? SentencePiece)
{
    /// <summary>Looks the files up without opening them.</summary>
    public static TokenizerFiles Of(string folder)
    {
        return new TokenizerFiles(
            Find("tokenizer.json"), Find("tokenizer_config.json"), Find("chat_template.jinja"), Find("special_tokens_map.json"), Find("tokenizer.model"));

        string? Find(string name)
        {
            string path = Path.Combine(folder, name);
            return File.Exists(path) ? path : null;
        }
    }
}
