using System.Numerics.Tensors;
using System.Text.Json;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Tests.Models;
using Xunit;

namespace Sals.Engine.Tests.Latent;

/// <summary>
/// Keys of the first layer need no attention, so their statistics can be checked against Hugging Face's with a few lines of model:
/// embedding, norm, projection, bias, key norm.
/// </summary>
public class GoldenKeyCovarianceTests
{
    [Theory]
    [MemberData(nameof(Micro))]
    public void First_layer_statistics_are_those_of_Hugging_Face(string relative)
    {
        string path = Path.Combine(GoldenFolders.Root, relative);
        using var golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(path, "golden.json")));
        var prompt = golden.RootElement.GetProperty("prompts").EnumerateArray().Single(p => p.GetProperty("name").GetString() == "long");
        var expected = golden.RootElement.GetProperty("key_covariance")[0];
        using var model = ModelFolder.Open(path);
        var set = new CovarianceSet(1, model.Config.KeyWidth);
        foreach (var id in prompt.GetProperty("ids").EnumerateArray())
        {
            set.Add(0, FirstLayerKey(model.Weights, id.GetInt32()));
        }

        var uncentred = SymmetricEigen.Of(set.Covariance(0, centred: false), set.Width);
        var centred = SymmetricEigen.Of(set.Covariance(0, centred: true), set.Width);

        Assert.Equal(expected.GetProperty("columns").GetInt32(), set.Width);
        Assert.Equal(prompt.GetProperty("ids").GetArrayLength(), set.Count(0));
        Near(expected.GetProperty("trace_uncentered").GetDouble(), uncentred.Values.Sum());
        Near(expected.GetProperty("trace_centered").GetDouble(), centred.Values.Sum());
        var top = expected.GetProperty("top_eigenvalues").EnumerateArray().Select(value => value.GetDouble()).ToArray();
        Assert.NotEmpty(top);
        for (int i = 0; i < top.Length; i++)
        {
            Near(top[i], uncentred.Values[i]);
        }
    }

    public static TheoryData<string> Micro()
    {
        return [.. GoldenFolders.All().Select(row => row.Data).Where(path => path.Contains("golden", StringComparison.Ordinal))];
    }

    // the golden values are float32 results printed to six decimals
    private static void Near(double expected, double actual) => Assert.Equal(expected, actual, 1e-5 + 1e-5 * Math.Abs(expected));

    /// <summary>Key of one token before rope, [D].</summary>
    private static float[] FirstLayerKey(ModelWeights weights, int id)
    {
        var config = weights.Config;
        var layer = weights.Layers[0];
        float[] hidden = new float[config.HiddenSize];
        weights.Embedding.Read(id, 1, hidden);
        Normalise(hidden, Vector(layer.InputNorm), config.RmsNormEpsilon);
        float[] key = layer.KeyBias is null ? new float[config.KeyWidth] : Vector(layer.KeyBias);
        float[] row = new float[config.HiddenSize];
        for (int i = 0; i < key.Length; i++)
        {
            layer.Key.Read(i, 1, row);
            key[i] += TensorPrimitives.Dot<float>(row, hidden);
        }

        for (int head = 0; layer.KeyNorm is not null && head < config.KeyValueHeadCount; head++)
        {
            Normalise(key.AsSpan(head * config.HeadSize, config.HeadSize), Vector(layer.KeyNorm), config.RmsNormEpsilon);
        }

        return key;
    }

    private static void Normalise(Span<float> values, float[] weight, float epsilon)
    {
        float scale = 1 / MathF.Sqrt(TensorPrimitives.SumOfSquares<float>(values) / values.Length + epsilon);
        for (int i = 0; i < values.Length; i++)
        {
            values[i] *= scale * weight[i];
        }
    }

    private static float[] Vector(Sals.Engine.Models.Tensor tensor)
    {
        float[] values = new float[tensor.Columns];
        tensor.Read(0, 1, values);
        return values;
    }
}
