using System.Numerics.Tensors;
using Sals.Engine.Models;
using Xunit;

namespace Sals.Engine.Tests.Models;

public class RandomWeightsTests
{
    private const string Config = """
        {"model_type": "qwen3", "num_hidden_layers": 2, "hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2,
         "head_dim": 64, "vocab_size": 300, "max_position_embeddings": 512, "rms_norm_eps": 1e-6, "rope_theta": 10000, "tie_word_embeddings": true}
        """;

    [Fact]
    public void A_folder_with_only_a_configuration_opens()
    {
        using var temporary = new TemporaryFolder();
        File.WriteAllText(temporary["config.json"], Config);
        using var folder = ModelFolder.Open(temporary.Path, format: LoadFormat.Dummy);
        Assert.Equal(2, folder.Weights.Layers.Length);
        Assert.Same(folder.Weights.Embedding, folder.Weights.Head);
        Assert.Equal((512, 256), (folder.Weights.Layers[1].Up.Rows, folder.Weights.Layers[1].Up.Columns));
        Assert.All(Values(folder.Weights.Layers[0].QueryNorm!), gain => Assert.Equal(1, gain));

        var error = Assert.Throws<ModelLoadException>(() => ModelFolder.Open(temporary.Path));
        Assert.Contains("model.safetensors", error.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("layers.0.q", 1 / 16.0)]
    [InlineData("layers.1.q", 0.02)]
    public void Numbers_have_the_deviation_asked_for(string name, double deviation)
    {
        var values = Values(new RandomTensor(name, 256, 256, (float)deviation, seed: 7));
        var mean = TensorPrimitives.Sum<float>(values) / values.Length;
        var spread = Math.Sqrt(TensorPrimitives.SumOfSquares<float>(values) / values.Length);

        // four standard errors of 65,536 draws
        Assert.InRange(mean / deviation, -0.016, 0.016);
        Assert.InRange(spread / deviation, 0.99, 1.01);
        Assert.InRange(TensorPrimitives.Max<float>(values) / deviation, 2.5, 3.5);
        Assert.InRange(TensorPrimitives.Min<float>(values) / deviation, -3.5, -2.5);
    }

    [Fact]
    public void Numbers_depend_on_name_and_place_only()
    {
        var tensor = new RandomTensor("a", 10, 12, 1, seed: 7);
        Assert.Equal(Values(tensor), Values(new RandomTensor("a", 20, 6, 1, seed: 7)));
        Assert.NotEqual(Values(tensor), Values(new RandomTensor("b", 10, 12, 1, seed: 7)));
        Assert.NotEqual(Values(tensor), Values(new RandomTensor("a", 10, 12, 1, seed: 8)));
        var row = new float[12];
        tensor.Read(3, 1, row);
        Assert.Equal(Values(tensor)[36..48], row);
    }

    private static float[] Values(Sals.Engine.Models.Tensor tensor)
    {
        var values = new float[tensor.ElementCount];
        tensor.Read(0, tensor.Rows, values);
        return values;
    }
}
