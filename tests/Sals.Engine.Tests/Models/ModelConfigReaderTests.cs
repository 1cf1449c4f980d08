using System.Text.Json.Nodes;
using Sals.Engine.Models;
using Xunit;

namespace Sals.Engine.Tests.Models;

public sealed class ModelConfigReaderTests : IDisposable
{
    private readonly TemporaryFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void Llama_2_as_written_by_transformers_4()
    {
        var config = Read("""
            {"architectures":["LlamaForCausalLM"],"bos_token_id":1,"eos_token_id":2,"hidden_act":"silu","hidden_size":4096,"initializer_range":0.02,
             "intermediate_size":11008,"max_position_embeddings":4096,"model_type":"llama","num_attention_heads":32,"num_hidden_layers":32,
             "num_key_value_heads":32,"pretraining_tp":1,"rms_norm_eps":1e-05,"rope_scaling":null,"tie_word_embeddings":false,
             "torch_dtype":"float16","transformers_version":"4.32.0.dev0","use_cache":true,"vocab_size":32000}
            """);

        Assert.Equal((32, 4096, 11008, 32000, 32, 32, 128), (config.LayerCount, config.HiddenSize, config.IntermediateSize, config.VocabularySize, config.HeadCount, config.KeyValueHeadCount, config.HeadSize));
        Assert.Equal((1e-5f, 4096, 1), (config.RmsNormEpsilon, config.MaxModelLength, config.BeginTokenId));
        Assert.Equal([2], config.EndTokenIds);
        Assert.Equal(new RopeSettings { Theta = 10_000 }, config.Rope);
        Assert.False(config.TiedEmbeddings || config.QueryKeyValueBias || config.OutputBias || config.MlpBias || config.QueryKeyNorm);
    }

    [Fact]
    public void Llama_3_1_with_its_end_tokens_and_rope_scaling()
    {
        File.WriteAllText(_folder["generation_config.json"], """{"bos_token_id":128000,"do_sample":true,"eos_token_id":[128001,128008,128009],"temperature":0.6,"top_p":0.9}""");
        var config = Read("""
            {"architectures":["LlamaForCausalLM"],"attention_bias":false,"bos_token_id":128000,"eos_token_id":[128001,128008,128009],"hidden_act":"silu",
             "hidden_size":4096,"intermediate_size":14336,"max_position_embeddings":131072,"mlp_bias":false,"model_type":"llama","num_attention_heads":32,
             "num_hidden_layers":32,"num_key_value_heads":8,"rms_norm_eps":1e-05,
             "rope_scaling":{"factor":8.0,"low_freq_factor":1.0,"high_freq_factor":4.0,"original_max_position_embeddings":8192,"rope_type":"llama3"},
             "rope_theta":500000.0,"tie_word_embeddings":false,"torch_dtype":"bfloat16","vocab_size":128256}
            """);

        Assert.Equal([128001, 128008, 128009], config.EndTokenIds);
        Assert.Equal((RopeScaling.Llama3, 500_000, 8, 1, 4, 8192), (config.Rope.Scaling, config.Rope.Theta, config.Rope.Factor, config.Rope.LowFrequencyFactor, config.Rope.HighFrequencyFactor, config.Rope.OriginalMaxPositions));
        Assert.Equal((131072, 1024, 4), (config.MaxModelLength, config.KeyWidth, config.GroupSize));
        var generation = GenerationDefaults.Read(_folder.Path);
        Assert.Equal((0.6f, 0.9f), (generation.Temperature, generation.TopP));
    }

    [Fact]
    public void Qwen_2_5_has_biases_and_an_unused_window()
    {
        File.WriteAllText(_folder["generation_config.json"], """{"eos_token_id":[151645,151643],"repetition_penalty":1.05,"temperature":0.7,"top_p":0.8,"top_k":20}""");
        var config = Read("""
            {"architectures":["Qwen2ForCausalLM"],"bos_token_id":151643,"eos_token_id":151645,"hidden_act":"silu","hidden_size":3584,"intermediate_size":18944,
             "max_position_embeddings":32768,"max_window_layers":28,"model_type":"qwen2","num_attention_heads":28,"num_hidden_layers":28,"num_key_value_heads":4,
             "rms_norm_eps":1e-06,"rope_theta":1000000.0,"sliding_window":131072,"tie_word_embeddings":false,"use_sliding_window":false,"vocab_size":152064}
            """);

        Assert.True(config.QueryKeyValueBias);
        Assert.False(config.OutputBias || config.QueryKeyNorm);
        Assert.Equal((32768, null, 128), (config.MaxModelLength, config.SlidingWindow, config.HeadSize));
        Assert.Equal([151645, 151643], config.EndTokenIds);
        var generation = GenerationDefaults.Read(_folder.Path);
        Assert.Equal((0.7f, 0.8f, 20, 1.05f, null), (generation.Temperature, generation.TopP, generation.TopK, generation.RepetitionPenalty, generation.MaxNewTokens));
    }

    [Fact]
    public void Mistral_Nemo_has_a_head_size_of_its_own_and_Qwen_3_norms()
    {
        var nemo = Read(Mutated("mistral-gqa", ("hidden_size", "5120"), ("num_attention_heads", "32"), ("num_key_value_heads", "8"), ("head_dim", "128")));
        Assert.Equal((128, 4096, 1024), (nemo.HeadSize, nemo.QueryWidth, nemo.KeyWidth));

        var qwen = Read(Mutated("qwen3-qknorm-tied"));
        Assert.True(qwen.QueryKeyNorm && qwen.TiedEmbeddings);
        Assert.Equal(128, Read(Mutated("qwen3-qknorm-tied", ("head_dim", null))).HeadSize);
        var biased = Read(Mutated("qwen3-qknorm-tied", ("attention_bias", "true")));
        Assert.True(biased.QueryKeyValueBias && biased.OutputBias);
    }

    [Theory]
    [InlineData("mistral-gqa", "512", null, 512)]
    [InlineData("mistral-gqa", "4096", null, null)]
    [InlineData("mistral-gqa", "null", null, null)]
    [InlineData("llama2-mha", "512", null, null)]
    [InlineData("qwen2-bias", "512", "false", null)]
    [InlineData("qwen2-bias", "512", null, null)]
    [InlineData("qwen3-qknorm-tied", "512", "false", null)]
    public void A_sliding_window_in_use_caps_the_length(string model, string window, string? used, int? expected)
    {
        var config = Read(Mutated(model, ("sliding_window", window), ("use_sliding_window", used)));

        Assert.Equal(expected, config.SlidingWindow);
        Assert.Equal(expected ?? 1024, config.MaxModelLength);
    }

    [Theory]
    [InlineData("\"max_window_layers\":2", 512)]
    [InlineData("\"max_window_layers\":4", null)]
    [InlineData("\"layer_types\":[\"full_attention\",\"full_attention\",\"full_attention\",\"sliding_attention\"]", 512)]
    [InlineData("\"layer_types\":[\"full_attention\",\"full_attention\",\"full_attention\",\"full_attention\"]", null)]
    public void Qwen_slides_only_in_the_layers_it_names(string layers, int? expected)
    {
        string json = Mutated("qwen2-bias", ("sliding_window", "512"), ("use_sliding_window", "true"), ("layer_types", null), ("max_window_layers", null));

        Assert.Equal(expected, Read($"{json[..^1]},{layers}}}").SlidingWindow);
    }

    [Fact]
    public void A_Mistral_without_the_key_has_the_window_of_its_class()
    {
        var config = Read(Mutated("mistral-gqa", ("sliding_window", null), ("max_position_embeddings", "32768")));

        Assert.Equal((4096, 4096), (config.SlidingWindow, config.MaxModelLength));
    }

    [Theory]
    [InlineData("""{"rope_type":"yarn","factor":4.0,"original_max_position_embeddings":1024}""", 4096)]
    [InlineData("""{"type":"yarn","factor":4.0,"original_max_position_embeddings":128}""", 1024)]
    [InlineData("""{"type":"yarn","original_max_position_embeddings":256}""", 1024)]
    [InlineData("""{"type":"yarn","factor":3}""", 3072)]
    public void Yarn_raises_the_length(string scaling, int expected)
    {
        var config = Read(Mutated("qwen2-bias", ("rope_parameters", null), ("rope_scaling", scaling)));

        Assert.Equal(RopeScaling.Yarn, config.Rope.Scaling);
        Assert.Equal(1_000_000, config.Rope.Theta);
        Assert.Equal(expected, config.MaxModelLength);
    }

    [Fact]
    public void Every_setting_of_yarn_is_read()
    {
        var rope = Read(Mutated("qwen2-bias", ("rope_parameters",
            """{"rope_type":"yarn","rope_theta":5000,"factor":2,"original_max_position_embeddings":64,"beta_fast":16,"beta_slow":2,"attention_factor":1.25,"truncate":false}"""))).Rope;

        Assert.Equal(
            new RopeSettings { Theta = 5000, Scaling = RopeScaling.Yarn, Factor = 2, OriginalMaxPositions = 64, BetaFast = 16, BetaSlow = 2, AttentionFactor = 1.25, Truncate = false },
            rope);
    }

    [Fact]
    public void Yarn_scales_of_DeepSeek_kind_give_the_attention_factor()
    {
        var rope = Read(Mutated("qwen2-bias", ("rope_parameters", """{"rope_type":"yarn","factor":10,"mscale":2,"mscale_all_dim":1}"""))).Rope;

        // (0.1 * 2 * ln 10 + 1) / (0.1 * ln 10 + 1)
        Assert.Equal(1.4605170185988092 / 1.2302585092994046, rope.AttentionFactor!.Value, 1e-14);
    }

    [Theory]
    [InlineData("""{"rope_theta":20000.0,"rope_type":"default"}""", 20_000)]
    [InlineData("""{"rope_type":"default"}""", 1_000_000)]
    [InlineData("""{"full_attention":{"rope_theta":30000.0,"rope_type":"default"},"sliding_attention":{"rope_theta":1.5}}""", 30_000)]
    public void New_rope_parameters_win_over_the_old_keys(string parameters, double theta)
    {
        Assert.Equal(theta, Read(Mutated("qwen2-bias", ("rope_parameters", parameters), ("rope_scaling", """{"type":"linear","factor":2}"""))).Rope.Theta);
    }

    [Fact]
    public void Linear_scaling_in_the_old_form()
    {
        var rope = Read(Mutated("llama2-mha", ("rope_parameters", null), ("rope_scaling", """{"type":"linear","factor":2}"""))).Rope;

        Assert.Equal(new RopeSettings { Theta = 10_000, Scaling = RopeScaling.Linear, Factor = 2 }, rope);
    }

    [Theory]
    [InlineData("architectures", "[\"GPT2LMHeadModel\"]", "architectures[0]: expected one of LlamaForCausalLM, MistralForCausalLM, Qwen2ForCausalLM, Qwen3ForCausalLM, found \"GPT2LMHeadModel\"")]
    [InlineData("architectures", "[7]", "architectures[0]: expected a string, found 7")]
    [InlineData("architectures", "\"LlamaForCausalLM\"", "architectures: expected an array")]
    [InlineData("model_type", "\"gemma\"", "model_type: expected \"llama\", as architectures says LlamaForCausalLM, found \"gemma\"")]
    [InlineData("num_hidden_layers", "0", "num_hidden_layers: expected an integer from 1 to 1024, found 0")]
    [InlineData("num_hidden_layers", "-1", "num_hidden_layers: expected an integer from 1 to 1024, found -1")]
    [InlineData("num_hidden_layers", "1e3", "num_hidden_layers: expected an integer")]
    [InlineData("num_hidden_layers", "\"4\"", "num_hidden_layers: expected an integer from 1 to 1024, found \"4\"")]
    [InlineData("num_hidden_layers", null, "num_hidden_layers: expected an integer from 1 to 1024, found nothing")]
    [InlineData("hidden_size", "99999999999999999999", "hidden_size: expected an integer")]
    [InlineData("hidden_size", "2147483647", "hidden_size: expected an integer from 1 to 131072")]
    [InlineData("intermediate_size", "null", "intermediate_size: expected an integer")]
    [InlineData("vocab_size", "4.5", "vocab_size: expected an integer")]
    [InlineData("num_attention_heads", "0", "num_attention_heads: expected an integer from 1 to 4096, found 0")]
    [InlineData("num_key_value_heads", "0", "num_key_value_heads: expected an integer from 1 to 4, found 0")]
    [InlineData("num_key_value_heads", "3", "num_key_value_heads: expected a divisor of num_attention_heads, 4, found 3")]
    [InlineData("num_key_value_heads", "8", "num_key_value_heads: expected an integer from 1 to 4, found 8")]
    [InlineData("head_dim", "15", "head_dim: expected an even number")]
    [InlineData("head_dim", "0", "head_dim: expected an integer from 2 to 1024, found 0")]
    [InlineData("rms_norm_eps", "0", "rms_norm_eps: expected a number")]
    [InlineData("rms_norm_eps", "1e999", "rms_norm_eps: expected a number")]
    [InlineData("rms_norm_eps", "\"NaN\"", "rms_norm_eps: expected a number")]
    [InlineData("max_position_embeddings", "0", "max_position_embeddings: expected an integer")]
    [InlineData("tie_word_embeddings", "1", "tie_word_embeddings: expected true or false, found 1")]
    [InlineData("attention_bias", "\"no\"", "attention_bias: expected true or false")]
    [InlineData("hidden_act", "\"gelu\"", "hidden_act: expected \"silu\", found \"gelu\"")]
    [InlineData("eos_token_id", "320", "eos_token_id: expected an integer from 0 to 319, found 320")]
    [InlineData("eos_token_id", "[2,-1]", "eos_token_id[1]: expected an integer from 0 to 319, found -1")]
    [InlineData("eos_token_id", "\"</s>\"", "eos_token_id: expected an integer")]
    [InlineData("bos_token_id", "[1]", "bos_token_id: expected an integer from 0 to 319, found an array of 1")]
    [InlineData("sliding_window", "0", "sliding_window: expected an integer")]
    [InlineData("quantization_config", """{"quant_method":"awq","bits":4}""", "quantization_config: expected no quantization: weights in float32, float16 or bfloat16, found quant_method \"awq\"")]
    [InlineData("quantization_config", "{}", "quantization_config: expected no quantization")]
    [InlineData("quantization_config", "true", "quantization_config: expected an object")]
    [InlineData("rope_parameters", "[]", "rope_parameters: expected an object")]
    [InlineData("rope_parameters", """{"rope_type":"longrope"}""", "rope_parameters.rope_type: expected one of default, linear, llama3, yarn, found \"longrope\"")]
    [InlineData("rope_parameters", """{"rope_type":"dynamic","factor":2}""", "rope_parameters.rope_type: expected one of")]
    [InlineData("rope_parameters", """{"rope_type":"linear"}""", "rope_parameters.factor: expected a number from 1 to 1000000, found nothing")]
    [InlineData("rope_parameters", """{"rope_type":"linear","factor":0}""", "rope_parameters.factor: expected a number")]
    [InlineData("rope_parameters", """{"rope_type":"linear","factor":-2}""", "rope_parameters.factor: expected a number")]
    [InlineData("rope_parameters", """{"rope_type":"llama3","factor":8}""", "rope_parameters.low_freq_factor: expected a number")]
    [InlineData("rope_parameters", """{"rope_type":"llama3","factor":8,"low_freq_factor":4,"high_freq_factor":4}""", "rope_parameters.high_freq_factor: expected more than low_freq_factor, 4, found 4")]
    [InlineData("rope_parameters", """{"rope_type":"yarn","factor":2,"beta_fast":1}""", "rope_parameters.beta_fast: expected more than beta_slow")]
    [InlineData("rope_parameters", """{"rope_type":"default","rope_theta":0}""", "rope_parameters.rope_theta: expected a number")]
    [InlineData("rope_parameters", """{"rope_type":"default","partial_rotary_factor":0.5}""", "rope_parameters.partial_rotary_factor: expected 1")]
    [InlineData("layer_types", "[\"full_attention\"]", "layer_types: expected 4 items, as num_hidden_layers, found 1")]
    [InlineData("layer_types", "[\"full_attention\",\"mamba\",\"full_attention\",\"full_attention\"]", "layer_types[1]: expected full_attention or sliding_attention, found \"mamba\"")]
    public void Nonsense_is_refused_by_key(string key, string? value, string expected)
    {
        var e = Assert.Throws<ModelLoadException>(() => Read(Mutated("llama2-mha", (key, value))));

        Assert.StartsWith($"{_folder["config.json"]}: {expected}", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("{\"vocab_size\": NaN}")]
    [InlineData("{\"vocab_size\": 1, \"vocab_size\": 2}")]
    [InlineData("{} x")]
    [InlineData("{}")]
    public void A_file_that_is_no_object_of_strict_JSON_is_refused(string json)
    {
        Assert.Throws<ModelLoadException>(() => Read(json));
    }

    [Fact]
    public void Deep_long_and_missing_files_are_refused()
    {
        Assert.Contains("expected valid JSON", Fail(string.Concat(Enumerable.Repeat("{\"a\":", 100_000))), StringComparison.Ordinal);
        Assert.Contains("at most 16777216 bytes", Fail(new string(' ', 17 << 20)), StringComparison.Ordinal);
        File.Delete(_folder["config.json"]);
        Assert.Contains("config.json: expected a file, found nothing", Assert.Throws<ModelLoadException>(() => ModelConfigReader.Read(_folder.Path)).Message, StringComparison.Ordinal);

        string Fail(string json) => Assert.Throws<ModelLoadException>(() => Read(json)).Message;
    }

    [Fact]
    public void A_head_size_that_does_not_come_out_even_is_refused()
    {
        var e = Assert.Throws<ModelLoadException>(() => Read(Mutated("llama2-mha", ("head_dim", null), ("hidden_size", "66"))));

        Assert.Contains("head_dim: expected an even size up to 1024, or a hidden_size that gives one for 4 heads, found nothing, and hidden_size 66", e.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("temperature", "-1")]
    [InlineData("top_p", "0")]
    [InlineData("top_p", "1.5")]
    [InlineData("top_k", "-2")]
    [InlineData("min_p", "2")]
    [InlineData("repetition_penalty", "0")]
    [InlineData("max_new_tokens", "0")]
    [InlineData("do_sample", "\"yes\"")]
    public void Generation_defaults_out_of_range_are_refused(string key, string value)
    {
        File.WriteAllText(_folder["generation_config.json"], $"{{\"{key}\":{value}}}");

        var e = Assert.Throws<ModelLoadException>(() => GenerationDefaults.Read(_folder.Path));

        Assert.Equal(key, e.Subject);
    }

    [Fact]
    public void Only_an_explicit_do_sample_false_means_greedy()
    {
        Assert.Equal(GenerationDefaults.None, GenerationDefaults.Read(_folder.Path));
        File.WriteAllText(_folder["generation_config.json"], """{"temperature":0.5}""");
        Assert.Equal(0.5f, GenerationDefaults.Read(_folder.Path).Temperature);
        File.WriteAllText(_folder["generation_config.json"], """{"temperature":0.5,"do_sample":false}""");
        Assert.Equal(0, GenerationDefaults.Read(_folder.Path).Temperature);
    }

    /// <summary>config.json of a micro checkpoint with some keys replaced; null removes one.</summary>
    private static string Mutated(string model, params (string Key, string? Value)[] changes)
    {
        var json = JsonNode.Parse(File.ReadAllText(Path.Combine(GoldenFolders.Micro(model), "config.json")))!.AsObject();
        var marks = new List<(string Mark, string Value)>();
        foreach (var (key, value) in changes)
        {
            json.Remove(key);
            if (value is not null)
            {
                // placed as text, since JsonNode would not write 1e999
                json[key] = $"mark-{key}";
                marks.Add(($"\"mark-{key}\"", value));
            }
        }

        return marks.Aggregate(json.ToJsonString(), (text, mark) => text.Replace(mark.Mark, mark.Value, StringComparison.Ordinal));
    }

    private ModelConfig Read(string json)
    {
        File.WriteAllText(_folder["config.json"], json);
        return ModelConfigReader.Read(_folder.Path);
    }
}
