namespace Sals.Gpu.Tests.Kernels;

/// <summary>Attention of one query as a plain loop in double.</summary>
internal static class AttentionOracle
{
    /// <param name="query">[DH]</param>
    /// <param name="keys">[count, stride], the head's first element first</param>
    /// <param name="o">[DH]</param>
    public static void Run(ReadOnlySpan<float> query, ReadOnlySpan<float> keys, ReadOnlySpan<float> values, int stride, int count, Span<float> o)
    {
        var scores = new double[count];
        var top = double.NegativeInfinity;
        for (var t = 0; t < count; t++)
        {
            double dot = 0;
            for (var i = 0; i < query.Length; i++)
            {
                dot += (double)query[i] * keys[(t * stride) + i];
            }

            scores[t] = dot / Math.Sqrt(query.Length);
            top = Math.Max(top, scores[t]);
        }

        var sum = new double[query.Length];
        double total = 0;
        for (var t = 0; t < count; t++)
        {
            var weight = Math.Exp(scores[t] - top);
            total += weight;
            for (var i = 0; i < sum.Length; i++)
            {
                sum[i] += weight * values[(t * stride) + i];
            }
        }

        for (var i = 0; i < sum.Length; i++)
        {
            o[i] = (float)(sum[i] / total);
        }
    }
}
