using System.Numerics.Tensors;
using Sals.Engine.Latent;

namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>
/// One score a token out of every query head's own: s_j = ln sum_h exp(z_hj), z_hj = (s_hj - mean_h) / deviation_h. In the sum of all heads' raw logits (the paper's)
/// a head with large keys decides for all; standardised, each head brings the tokens that stand out to it. Mean and deviation are those that latents
/// distributed as in calibration give a head's query, so no pass over the scores is needed. Which aggregation keeps most attention: docs/accuracy.md.
/// </summary>
internal static class HeadScores
{
    /// <summary>
    /// Standardises a row's scoring queries: after it, a head's query . latent + bias is z. A head whose score would not vary gets zeros.
    /// </summary>
    /// <param name="queries">[bands, heads, RS]</param>
    /// <param name="biases">[bands, heads], added to the scores of a band's tokens.</param>
    /// <param name="pages">[bands], latent pages of each band.</param>
    public static void Standardise(Span<float> queries, Span<float> biases, ReadOnlySpan<int> pages, LatentBasisLayer basis)
    {
        int heads = biases.Length / pages.Length, rank = queries.Length / biases.Length;
        for (var head = 0; head < heads; head++)
        {
            // moments of a mixture: each band's tokens have a mean and a variance of their own
            double mean = 0, square = 0, all = 0;
            for (var band = 0; band < pages.Length; band++)
            {
                var query = queries.Slice(((band * heads) + head) * rank, rank);
                double own = biases[(band * heads) + head], variance = 0;
                for (var i = 0; i < rank; i++)
                {
                    own += (double)query[i] * basis.LatentMean[i];
                    variance += (double)query[i] * query[i] * basis.LatentVariance[i];
                }

                all += pages[band];
                mean += pages[band] * own;
                square += pages[band] * ((own * own) + variance);
            }

            mean /= all;
            var factor = 1 / Math.Sqrt((square / all) - (mean * mean));
            factor = double.IsFinite(factor) ? factor : 0;
            for (var band = 0; band < pages.Length; band++)
            {
                var query = queries.Slice(((band * heads) + head) * rank, rank);
                TensorPrimitives.Multiply(query, (float)factor, query);
                ref var bias = ref biases[(band * heads) + head];
                bias = (float)((bias - mean) * factor);
            }
        }
    }

    /// <summary>ln sum_h exp(z_hj) of n tokens; a NaN of any head is the least.</summary>
    /// <param name="scores">[heads, n]</param>
    /// <param name="keys">[n], as in <see cref="ScoreSelect.Score"/></param>
    public static void Combine(ReadOnlySpan<float> scores, Span<uint> keys)
    {
        for (var t = 0; t < keys.Length; t++)
        {
            var most = float.NegativeInfinity;
            for (var at = t; at < scores.Length; at += keys.Length)
            {
                most = MathF.Max(most, scores[at]);
            }

            var sum = 0f;
            for (var at = t; at < scores.Length; at += keys.Length)
            {
                sum += MathF.Exp(scores[at] - most);
            }

            keys[t] = ScoreSelect.OrderedKey(most + MathF.Log(sum));
        }
    }
}
