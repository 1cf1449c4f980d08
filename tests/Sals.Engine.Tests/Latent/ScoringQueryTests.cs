using System.Runtime.InteropServices;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Xunit;

namespace Sals.Engine.Tests.Latent;

public class ScoringQueryTests
{
    [Theory]
    [InlineData(4, 4, false)] // MHA
    [InlineData(4, 2, false)]
    [InlineData(4, 2, true)] // Qwen2 biases
    [InlineData(8, 1, true)]
    public void Folded_equals_summing_heads_and_projecting(int heads, int keyValueHeads, bool bias)
    {
        const int size = 16, hidden = 48, scored = 12;
        var random = new Random(heads * 100 + keyValueHeads);
        var config = LatentModels.Config(4, keyValueHeads, size, heads) with { HiddenSize = hidden, QueryKeyValueBias = bias };
        var basis = RandomBasis.Create(random, config.KeyWidth, scored + 4, centred: false);
        var query = Matrix(random, config.QueryWidth, hidden);
        var layer = Layer(query, bias ? Matrix(random, 1, config.QueryWidth) : null);
        var (weight, folded) = ScoringQuery.Fold(layer, config, basis, scored);

        float[] x = [.. Enumerable.Range(0, hidden).Select(_ => random.NextSingle() - 0.5f)];
        float[] q = [.. Enumerable.Range(0, config.QueryWidth).Select(n =>
            Enumerable.Range(0, hidden).Sum(i => Value(query, n * hidden + i) * x[i]) + (layer.QueryBias is { } b ? Value(b, n) : 0))];
        var summed = new float[config.KeyWidth];
        ScoringQuery.SumGroups(q, config.GroupSize, size, summed);
        var projected = new float[scored];
        ScoringQuery.Project(summed, basis, projected);
        for (var i = 0; i < scored; i++)
        {
            var fold = Enumerable.Range(0, hidden).Sum(h => weight[i * hidden + h] * x[h]) + folded[i];
            Assert.InRange(fold - projected[i], -2e-5, 2e-5);
        }
    }

    [Fact]
    public void The_score_is_the_sum_of_raw_logits_over_all_heads()
    {
        const int size = 16;
        var random = new Random(9);
        float[] q = [.. Enumerable.Range(0, 4 * size).Select(_ => random.NextSingle() - 0.5f)];
        float[] key = [.. Enumerable.Range(0, 2 * size).Select(_ => random.NextSingle() - 0.5f)];
        var basis = RandomBasis.Create(random, 2 * size, 2 * size, centred: false);
        var summed = new float[2 * size];
        ScoringQuery.SumGroups(q, 2, size, summed);
        var query = new float[2 * size];
        ScoringQuery.Project(summed, basis, query);
        var latent = new float[2 * size];
        ScoringQuery.Project(key, basis, latent);
        var logits = Enumerable.Range(0, 4).Sum(h => Enumerable.Range(0, size).Sum(d => q[h * size + d] * key[h / 2 * size + d]));
        Assert.InRange(query.Zip(latent, (a, b) => a * b).Sum() - logits, -1e-5, 1e-5);
    }

    [Fact]
    public void A_query_norm_is_refused()
    {
        var random = new Random(1);
        var config = LatentModels.Config(4, 2, 16, 4);
        var layer = Layer(Matrix(random, 64, 64), null) with { QueryNorm = Matrix(random, 1, 16) };
        Assert.Throws<ArgumentException>(() => ScoringQuery.Fold(layer, config, RandomBasis.Create(random, 32, 16, false), 8));
    }

    private static ComputedTensor Matrix(Random random, int rows, int columns) =>
        new("test", [.. Enumerable.Range(0, rows * columns).Select(_ => random.NextSingle() - 0.5f)], rows, columns);

    private static float Value(Tensor tensor, int index) => MemoryMarshal.Cast<byte, float>(tensor.RowBytes(0, tensor.Rows))[index];

    private static LayerWeights Layer(Tensor query, Tensor? bias)
    {
        var none = Matrix(new Random(0), 1, 1);
        return new LayerWeights
        {
            InputNorm = none,
            Query = query,
            Key = none,
            Value = none,
            Output = none,
            PostAttentionNorm = none,
            Gate = none,
            Up = none,
            Down = none,
            QueryBias = bias,
        };
    }
}
