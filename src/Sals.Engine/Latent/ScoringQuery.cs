using System.Numerics.Tensors;
using Sals.Engine.Models;

namespace Sals.Engine.Latent;

/// <summary>
/// The scoring query of a layer: leading RS coordinates of U^T applied to the query heads summed per KV head, taken before rope. Its dot product with a
/// token's leading latent coordinates is the sum over all heads of the raw logits (paper section 3, eq. for s_j; for grouped queries
/// q_h . k_g summed over the heads h of group g equals (sum of q_h) . k_g).
/// </summary>
public static class ScoringQuery
{
    /// <summary>
    /// The scoring query as a linear function of the layer's normed input: W = U_s^T G W_q [RS, H] and bias U_s^T G b_q [RS], G the sum over a group.
    /// Exact only when no norm stands between the query projection and rope.
    /// </summary>
    /// <exception cref="ArgumentException">The layer norms its queries (q_norm).</exception>
    public static (float[] Weight, float[] Bias) Fold(LayerWeights layer, ModelConfig config, LatentBasisLayer basis, int scoreRank)
    {
        if (layer.QueryNorm is not null)
        {
            throw new ArgumentException("A query norm cannot be folded into the query weight; use Project on the normed query.", nameof(layer));
        }

        int hidden = config.HiddenSize, size = config.HeadSize, width = config.KeyWidth;
        var sums = new double[width * hidden];
        var row = new float[hidden];
        var wide = new double[hidden];
        for (var q = 0; q < config.QueryWidth; q++)
        {
            layer.Query.Read(q, 1, row);
            TensorPrimitives.ConvertTruncating<float, double>(row, wide);
            var target = sums.AsSpan(KeyDimension(q, config) * hidden, hidden);
            TensorPrimitives.Add(target, wide, target);
        }

        var weight = new float[scoreRank * hidden];
        Parallel.For(0, scoreRank, i =>
        {
            var sum = new double[hidden];
            for (var d = 0; d < width; d++)
            {
                TensorPrimitives.MultiplyAdd(sums.AsSpan(d * hidden, hidden), basis.Vectors[i * width + d], sum, sum);
            }

            TensorPrimitives.ConvertTruncating<double, float>(sum, weight.AsSpan(i * hidden, hidden));
        });

        var bias = new float[scoreRank];
        if (layer.QueryBias is { } queryBias)
        {
            var heads = new float[config.QueryWidth];
            var summed = new float[width];
            queryBias.Read(0, 1, heads.AsSpan(0, queryBias.Columns));
            SumGroups(heads, config.GroupSize, size, summed);
            Project(summed, basis, bias);
        }

        return (weight, bias);
    }

    /// <summary>Sums the query heads of each KV head: <paramref name="query"/> [HQ, DH] → <paramref name="summed"/> [HK, DH].</summary>
    public static void SumGroups(ReadOnlySpan<float> query, int groupSize, int headSize, Span<float> summed)
    {
        summed.Clear();
        for (var head = 0; head * headSize < query.Length; head++)
        {
            var target = summed.Slice(head / groupSize * headSize, headSize);
            TensorPrimitives.Add(target, query.Slice(head * headSize, headSize), target);
        }
    }

    /// <summary>Leading coordinates of U^T <paramref name="summed"/> [D] → <paramref name="score"/> [RS].</summary>
    public static void Project(ReadOnlySpan<float> summed, LatentBasisLayer basis, Span<float> score)
    {
        for (var i = 0; i < score.Length; i++)
        {
            score[i] = TensorPrimitives.Dot(basis.Vector(i), summed);
        }
    }

    private static int KeyDimension(int queryDimension, ModelConfig config) =>
        queryDimension / config.HeadSize / config.GroupSize * config.HeadSize + queryDimension % config.HeadSize;
}
