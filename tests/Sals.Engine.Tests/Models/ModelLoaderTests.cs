using System.Text.Json.Nodes;
using Sals.Engine.Models;
using Xunit;

namespace Sals.Engine.Tests.Models;

/// <summary>A checkpoint must be the model of its config.json: nothing missing, misshapen or left over.</summary>
public sealed class ModelLoaderTests
{
    [Fact]
    public void All_missing_tensors_are_reported_at_once()
    {
        using var folder = Changed("llama2-mha", header =>
        {
            foreach (string name in new[] { "q_proj", "k_proj", "v_proj", "o_proj" })
            {
                Rename(header, $"model.layers.1.self_attn.{name}.weight", $"model.layers.1.self_attn.{name}.lora");
            }

            Rename(header, "model.norm.weight", "model.norm.gamma");
            Rename(header, "lm_head.weight", "head");
        });

        AssertRefused(folder, "expected 39 tensors of a Llama model, found 6 missing: model.norm.weight, lm_head.weight, " +
            "model.layers.1.self_attn.q_proj.weight, model.layers.1.self_attn.k_proj.weight, model.layers.1.self_attn.v_proj.weight and 1 more");
    }

    [Fact]
    public void A_missing_head_hints_at_tied_embeddings()
    {
        using var folder = TemporaryFolder.CopyOf(GoldenFolders.Micro("qwen3-qknorm-tied"));
        SetConfig(folder, "tie_word_embeddings", false);

        AssertRefused(folder, "found 1 missing: lm_head.weight (a model with tied embeddings says tie_word_embeddings in config.json)");
    }

    [Fact]
    public void All_misshapen_tensors_are_reported_with_both_shapes()
    {
        using var folder = TemporaryFolder.CopyOf(GoldenFolders.Micro("llama2-mha"));
        SetConfig(folder, "vocab_size", 321);

        AssertRefused(folder, "expected the shapes that config.json implies, found 2 others: model.embed_tokens.weight is [320, 64] and should be [321, 64], lm_head.weight is");
    }

    [Fact]
    public void A_transposed_matrix_is_refused()
    {
        using var folder = Changed("llama2-mha", header => header["model.layers.3.mlp.down_proj.weight"]!["shape"] = new JsonArray(128, 64));

        AssertRefused(folder, "model.layers.3.mlp.down_proj.weight is [128, 64] and should be [64, 128]");
    }

    [Fact]
    public void A_vector_of_two_dimensions_is_refused()
    {
        using var folder = Changed("llama2-mha", header => header["model.norm.weight"]!["shape"] = new JsonArray(64, 1));

        AssertRefused(folder, "model.norm.weight is [64, 1] and should be [64]");
    }

    [Fact]
    public void A_type_that_is_not_computed_with_is_refused()
    {
        using var folder = Changed("llama2-mha", header => header["model.norm.weight"]!["dtype"] = "I32");

        AssertRefused(folder, "expected tensors of type F32, F16 or BF16, found 1 others: model.norm.weight is I32");
    }

    [Fact]
    public void Biases_the_configuration_does_not_know_are_not_dropped()
    {
        using var folder = TemporaryFolder.CopyOf(GoldenFolders.Micro("qwen2-bias"));
        SetConfig(folder, "architectures", new JsonArray("LlamaForCausalLM"));
        SetConfig(folder, "model_type", "llama");

        AssertRefused(folder, "found 12 more: model.layers.0.self_attn.k_proj.bias");
    }

    [Fact]
    public void A_configuration_with_fewer_layers_is_not_half_a_load()
    {
        using var folder = TemporaryFolder.CopyOf(GoldenFolders.Micro("llama2-mha"));
        SetConfig(folder, "num_hidden_layers", 3);

        AssertRefused(folder, "found 9 more: model.layers.3.");
    }

    [Fact]
    public void Rotary_tables_and_a_head_beside_tied_embeddings_are_passed_over()
    {
        using var folder = TemporaryFolder.CopyOf(GoldenFolders.Micro("qwen3-qknorm-tied"));
        var (header, data) = RawSafetensors.Split(folder["model.safetensors"]);
        var json = JsonNode.Parse(header)!.AsObject();
        json["model.layers.0.self_attn.rotary_emb.inv_freq"] = Entry("F32", [2], data.Length, 8);
        json["lm_head.weight"] = Entry("F32", [1], data.Length + 8, 4);
        Save(folder, json, [.. data, .. new byte[12]]);

        using var model = ModelFolder.Open(folder.Path);

        Assert.Same(model.Weights.Embedding, model.Weights.Head);
    }

    [Fact]
    public void A_folder_whose_weights_are_refused_is_closed_again()
    {
        using var folder = TemporaryFolder.CopyOf(GoldenFolders.Micro("llama2-mha"));
        SetConfig(folder, "vocab_size", 321);
        AssertRefused(folder, "2 others");

        Assert.DoesNotContain(folder.Path, OperatingSystem.IsLinux() ? File.ReadAllText("/proc/self/maps") : "", StringComparison.Ordinal);
    }

    [Fact]
    public void Missing_folders_and_files_in_their_place_are_refused()
    {
        using var folder = new TemporaryFolder();
        File.WriteAllText(folder["file"], "x");

        Assert.Contains("expected a model folder, found nothing", Assert.Throws<ModelLoadException>(() => ModelFolder.Open(folder["none"])).Message, StringComparison.Ordinal);
        Assert.Contains("expected a model folder, found a file", Assert.Throws<ModelLoadException>(() => ModelFolder.Open(folder["file"])).Message, StringComparison.Ordinal);
    }

    private static TemporaryFolder Changed(string model, Action<JsonObject> change)
    {
        var folder = TemporaryFolder.CopyOf(GoldenFolders.Micro(model));
        var (header, data) = RawSafetensors.Split(folder["model.safetensors"]);
        var json = JsonNode.Parse(header)!.AsObject();
        change(json);
        Save(folder, json, data);
        return folder;
    }

    private static void Save(TemporaryFolder folder, JsonObject header, byte[] data)
    {
        byte[] file = RawSafetensors.Bytes(header.ToJsonString(), data.Length);
        data.CopyTo(file, file.Length - data.Length);
        File.WriteAllBytes(folder["model.safetensors"], file);
    }

    private static JsonObject Entry(string type, int[] shape, int begin, int bytes)
    {
        return new JsonObject { ["dtype"] = type, ["shape"] = new JsonArray([.. shape.Select(size => (JsonNode)size)]), ["data_offsets"] = new JsonArray(begin, begin + bytes) };
    }

    private static void Rename(JsonObject header, string from, string to)
    {
        var entry = header[from]!.DeepClone();
        header.Remove(from);
        header[to] = entry;
    }

    private static void SetConfig(TemporaryFolder folder, string key, JsonNode value)
    {
        var json = JsonNode.Parse(File.ReadAllText(folder["config.json"]))!.AsObject();
        json[key] = value;
        File.WriteAllText(folder["config.json"], json.ToJsonString());
    }

    private static void AssertRefused(TemporaryFolder folder, string expected)
    {
        var e = Assert.Throws<ModelLoadException>(() => ModelFolder.Open(folder.Path));
        Assert.Contains(expected, e.Message, StringComparison.Ordinal);
    }
}
