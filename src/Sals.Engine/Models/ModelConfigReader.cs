namespace Sals.Engine.Models;

/// <summary>
/// Reads <c>config.json</c> and <c>generation_config.json</c> of a Hugging Face model folder, in the forms of transformers 4 and 5.
/// What a key means when it is missing follows the configuration class of each architecture there.
/// </summary>
public static class ModelConfigReader
{
    /// <summary>Bound on max_position_embeddings and the like.</summary>
    internal const int MostPositions = 1 << 24;

    private const int MostEndTokens = 64;

    private static readonly (string Class, string ModelType, ModelArchitecture Architecture)[] Supported =
    [
        ("LlamaForCausalLM", "llama", ModelArchitecture.Llama),
        ("MistralForCausalLM", "mistral", ModelArchitecture.Mistral),
        ("Qwen2ForCausalLM", "qwen2", ModelArchitecture.Qwen2),
        ("Qwen3ForCausalLM", "qwen3", ModelArchitecture.Qwen3),
    ];

    /// <summary>Reads the folder's configuration.</summary>
    /// <param name="folder">The model folder.</param>
    /// <param name="tokenizerEndTokenId">Id of the tokenizer's eos_token, joined to the end tokens; null when unknown.</param>
    /// <exception cref="ModelLoadException">A file is missing or broken, or describes a model that is not supported.</exception>
    public static ModelConfig Read(string folder, int? tokenizerEndTokenId = null)
    {
        var config = JsonField.Load(Path.Combine(folder, "config.json"));
        var architecture = ReadArchitecture(config);
        RefuseUnsupported(config);

        int layers = config["num_hidden_layers"].Int(1, 1024);
        int hidden = config["hidden_size"].Int(1, 1 << 17);
        int vocabulary = config["vocab_size"].Int(1, 1 << 22);
        int heads = config["num_attention_heads"].Int(1, 4096);
        int keyValueHeads = architecture == ModelArchitecture.Llama || config["num_key_value_heads"].Present
            ? config["num_key_value_heads"].Int(1, heads, heads)
            : throw config["num_key_value_heads"].Error($"an integer from 1 to {heads}");
        if (heads % keyValueHeads != 0)
        {
            throw config["num_key_value_heads"].Error($"a divisor of num_attention_heads, {heads}");
        }

        int maxPositions = config["max_position_embeddings"].Int(1, MostPositions);
        var rope = RopeSettingsReader.Read(config, maxPositions);
        int longest = rope.Scaling == RopeScaling.Yarn
            ? (int)Math.Clamp(rope.Factor * rope.OriginalMaxPositions, maxPositions, MostPositions)
            : maxPositions;
        int? window = ReadWindow(config, architecture, layers);

        bool attentionBias = architecture is ModelArchitecture.Llama or ModelArchitecture.Qwen3 && config["attention_bias"].Flag(otherwise: false);
        return new ModelConfig
        {
            Architecture = architecture,
            LayerCount = layers,
            HiddenSize = hidden,
            IntermediateSize = config["intermediate_size"].Int(1, 1 << 20),
            VocabularySize = vocabulary,
            HeadCount = heads,
            KeyValueHeadCount = keyValueHeads,
            HeadSize = ReadHeadSize(config, architecture, hidden, heads),
            RmsNormEpsilon = (float)config["rms_norm_eps"].Number(1e-12, 0.1, 1e-6),
            TiedEmbeddings = config["tie_word_embeddings"].Flag(otherwise: false),
            QueryKeyValueBias = attentionBias || architecture == ModelArchitecture.Qwen2,
            OutputBias = attentionBias,
            MlpBias = architecture == ModelArchitecture.Llama && config["mlp_bias"].Flag(otherwise: false),
            QueryKeyNorm = architecture == ModelArchitecture.Qwen3,
            Rope = rope,
            MaxModelLength = Math.Min(longest, window ?? longest),
            SlidingWindow = window < longest ? window : null,
            EndTokenIds = ReadEndTokens(folder, config, vocabulary, tokenizerEndTokenId),
            BeginTokenId = config["bos_token_id"].Absent ? null : config["bos_token_id"].Int(0, vocabulary - 1),
        };
    }

    private static ModelArchitecture ReadArchitecture(JsonField config)
    {
        var classes = config["architectures"];
        var modelType = config["model_type"];
        if (classes.Absent && modelType.Absent)
        {
            throw classes.Error($"one of {string.Join(", ", Supported.Select(s => s.Class))}");
        }

        var items = classes.Absent ? [] : classes.Items(16);
        if (items.Count > 0)
        {
            string name = items[0].Text();
            var known = Supported.FirstOrDefault(s => s.Class == name);
            if (known.Class is null)
            {
                throw items[0].Error($"one of {string.Join(", ", Supported.Select(s => s.Class))}");
            }

            return modelType.Absent || modelType.Text() == known.ModelType
                ? known.Architecture
                : throw modelType.Error($"\"{known.ModelType}\", as architectures says {known.Class}");
        }

        string type = modelType.Text();
        var named = Supported.FirstOrDefault(s => s.ModelType == type);
        return named.Class is null ? throw modelType.Error($"one of {string.Join(", ", Supported.Select(s => s.ModelType))}") : named.Architecture;
    }

    private static void RefuseUnsupported(JsonField config)
    {
        var quantization = config["quantization_config"];
        if (quantization.Present)
        {
            var method = quantization["quant_method"];
            throw quantization.Error(
                "no quantization: weights in float32, float16 or bfloat16",
                method.Present ? $"quant_method \"{ModelLoadException.Shown(method.Text())}\"" : null);
        }

        var activation = config["hidden_act"];
        if (activation.Present && activation.Text() != "silu")
        {
            throw activation.Error("\"silu\"");
        }
    }

    private static int ReadHeadSize(JsonField config, ModelArchitecture architecture, int hidden, int heads)
    {
        const int Most = 1024;
        var field = config["head_dim"];
        if (field.Absent && architecture != ModelArchitecture.Qwen3)
        {
            return hidden % heads == 0 && hidden / heads is >= 2 and <= Most and var size && size % 2 == 0
                ? size
                : throw field.Error($"an even size up to {Most}, or a hidden_size that gives one for {heads} heads", $"nothing, and hidden_size {hidden}");
        }

        int given = field.Int(2, Most, otherwise: 128);
        return given % 2 == 0 ? given : throw field.Error("an even number: rotary pairs are two halves");
    }

    /// <summary>The window of the layers that have one; null when all attend to everything.</summary>
    private static int? ReadWindow(JsonField config, ModelArchitecture architecture, int layers)
    {
        var field = config["sliding_window"];
        int? window = field.Absent ? null : field.Int(1, int.MaxValue);
        bool anySliding = true;
        if (config["layer_types"].Present)
        {
            var types = config["layer_types"].Items(1024);
            if (types.Count != layers)
            {
                throw config["layer_types"].Error($"{layers} items, as num_hidden_layers", $"{types.Count}");
            }

            foreach (var type in types)
            {
                if (type.Text() is not ("full_attention" or "sliding_attention"))
                {
                    throw type.Error("full_attention or sliding_attention");
                }
            }

            anySliding = types.Any(type => type.Text() == "sliding_attention");
        }

        switch (architecture)
        {
            case ModelArchitecture.Llama:
                return null;
            case ModelArchitecture.Mistral:
                // the class of transformers has 4096 where the key is missing, and null means none
                return field.Kind == System.Text.Json.JsonValueKind.Undefined ? 4096 : window;
            default:
                bool used = config["use_sliding_window"].Flag(otherwise: false);
                int firstSliding = config["max_window_layers"].Int(0, int.MaxValue, otherwise: 28);
                return used && anySliding && (config["layer_types"].Present || firstSliding < layers) ? window : null;
        }
    }

    /// <summary>Union in order of config.json, generation_config.json and tokenizer.</summary>
    private static int[] ReadEndTokens(string folder, JsonField config, int vocabulary, int? tokenizerEndTokenId)
    {
        var ids = new List<int>();
        Add(config["eos_token_id"]);
        if (GenerationDefaults.Find(folder) is { } file)
        {
            Add(JsonField.Load(file)["eos_token_id"]);
        }

        if (tokenizerEndTokenId is { } id)
        {
            ids.Add(id);
        }

        return [.. ids.Distinct()];

        void Add(JsonField field)
        {
            if (field.Kind == System.Text.Json.JsonValueKind.Array)
            {
                ids.AddRange(field.Items(MostEndTokens).Select(item => item.Int(0, vocabulary - 1)));
            }
            else if (field.Present)
            {
                ids.Add(field.Int(0, vocabulary - 1));
            }
        }
    }
}
