using System.Numerics.Tensors;

namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>Natural log-probabilities of a row of raw logits.</summary>
internal static class LogProbabilities
{
    /// <summary>log of the sum of exponentials: a token's log-probability is its logit minus this.</summary>
    /// <param name="logits">[V]</param>
    /// <param name="work">[V]</param>
    public static float LogSumExp(ReadOnlySpan<float> logits, Span<float> work)
    {
        var max = TensorPrimitives.Max(logits);
        TensorPrimitives.Subtract(logits, max, work);
        TensorPrimitives.Exp<float>(work, work);
        double sum = 0;
        foreach (var value in work)
        {
            sum += value;
        }

        return (float)(max + Math.Log(sum));
    }

    /// <summary>The most probable ids, best first, ties by smaller id.</summary>
    /// <param name="ids">[N]; with fewer than N ids the rest is filled with -1.</param>
    /// <param name="values">[N], log-probabilities.</param>
    public static void Top(ReadOnlySpan<float> logits, float logSumExp, Span<int> ids, Span<float> values)
    {
        ids.Fill(-1);
        values.Fill(float.NegativeInfinity);
        for (var id = 0; id < logits.Length && ids.Length > 0; id++)
        {
            var value = logits[id];
            if (!(value > values[^1]) && ids[^1] >= 0)
            {
                continue;
            }

            var at = ids.Length - 1;
            for (; at > 0 && (ids[at - 1] < 0 || value > values[at - 1]); at--)
            {
                ids[at] = ids[at - 1];
                values[at] = values[at - 1];
            }

            ids[at] = id;
            values[at] = value;
        }

        TensorPrimitives.Subtract(values, logSumExp, values);
    }
}
