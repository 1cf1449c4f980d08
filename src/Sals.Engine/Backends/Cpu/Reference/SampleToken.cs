using System.Numerics.Tensors;
using Sals.Engine.Sampling;

namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>
/// One token from one row of logits. The order of operations is that of <see cref="SamplingOptions"/>. Probabilities are integers in
/// units of 2^-40 of the most probable token's, so that sums and cuts do not depend on the order of addition; a token that is less
/// probable than one unit cannot be drawn. Filters keep a prefix of the order (logit descending, id ascending).
/// </summary>
internal static class SampleToken
{
    private const float One = 1L << 40;

    /// <param name="logits">[V], overwritten.</param>
    /// <param name="slot">Settings, token counts and the length, which the row's input already counts in: the position that is sampled.</param>
    /// <param name="mask">Bit t set = t may be sampled, [ceil(V / 32)]; empty = all.</param>
    public static int Run(Span<float> logits, CpuSlot slot, ReadOnlySpan<uint> mask, SampleWorkspace work)
    {
        var s = slot.Sampling;
        Restrict(logits, slot, mask);
        Penalize(logits, slot);
        var best = TensorPrimitives.IndexOfMax<float>(logits);
        if (s.Greedy || !float.IsFinite(logits[best]))
        {
            return best;
        }

        var weights = work.Weights.AsSpan(0, logits.Length);
        Weigh(logits, logits[best], s.Temperature, work.Values.AsSpan(0, logits.Length), weights);
        if (s.MinP > 0)
        {
            var least = (ulong)(s.MinP * One);
            foreach (ref var weight in weights)
            {
                weight = weight >= least ? weight : 0;
            }
        }

        if (s.TopK > 0 && s.TopK < logits.Length)
        {
            PrefixCut.Keep(logits, weights, (ulong)s.TopK, byMass: false, work.Bins);
        }

        if (s.TopP < 1)
        {
            var target = (ulong)Math.Ceiling(s.TopP * (double)Sum(weights));
            PrefixCut.Keep(logits, weights, Math.Max(1, target), byMass: true, work.Bins);
        }

        return Draw(weights, Philox.Draw(s.Seed, s.Stream, slot.Length));
    }

    /// <summary>logit_bias, then min_tokens, then the allowed tokens.</summary>
    private static void Restrict(Span<float> logits, CpuSlot slot, ReadOnlySpan<uint> mask)
    {
        foreach (var (id, bias) in slot.Sampling.LogitBias)
        {
            if (id < logits.Length)
            {
                logits[id] += bias;
            }
        }

        if (slot.Length - slot.PromptLength < slot.Sampling.MinTokens)
        {
            foreach (var id in slot.Sampling.HeldBackIds)
            {
                if (id < logits.Length)
                {
                    logits[id] = float.NegativeInfinity;
                }
            }
        }

        if (!mask.IsEmpty)
        {
            for (var id = 0; id < logits.Length; id++)
            {
                if ((mask[id / 32] >> (id % 32) & 1) == 0)
                {
                    logits[id] = float.NegativeInfinity;
                }
            }
        }
    }

    /// <summary>
    /// Repetition divides positive logits and multiplies negative ones (Keskar et al., CTRL, 2019); presence and frequency subtract (OpenAI API reference).
    /// </summary>
    private static void Penalize(Span<float> logits, CpuSlot slot)
    {
        if (!slot.Counts)
        {
            return;
        }

        var s = slot.Sampling;
        var counts = slot.OutputCounts;
        for (var id = 0; id < logits.Length; id++)
        {
            var count = counts[id];
            if (count > 0 || slot.InPrompt(id))
            {
                logits[id] = logits[id] > 0 ? logits[id] / s.RepetitionPenalty : logits[id] * s.RepetitionPenalty;
            }

            if (count > 0)
            {
                logits[id] -= (s.FrequencyPenalty * count) + s.PresencePenalty;
            }
        }
    }

    /// <summary>weights[i] = exp((logits[i] - max) / temperature) in units of 2^-40.</summary>
    private static void Weigh(ReadOnlySpan<float> logits, float max, float temperature, Span<float> values, Span<ulong> weights)
    {
        TensorPrimitives.Subtract(logits, max, values);
        TensorPrimitives.Divide(values, temperature, values);
        TensorPrimitives.Exp<float>(values, values);
        for (var i = 0; i < values.Length; i++)
        {
            weights[i] = (ulong)(values[i] * One);
        }
    }

    /// <summary>The first id, in ascending order, whose running sum exceeds the drawn share of the whole.</summary>
    private static int Draw(ReadOnlySpan<ulong> weights, ulong bits)
    {
        var point = Math.BigMul(bits, Sum(weights), out _);
        for (var id = 0; id < weights.Length; id++)
        {
            if (point < weights[id])
            {
                return id;
            }

            point -= weights[id];
        }

        throw new InvalidOperationException("The drawn point lies beyond the sum of the weights.");
    }

    private static ulong Sum(ReadOnlySpan<ulong> weights)
    {
        // vocabulary sizes are below 2^23 and weights at most 2^40, so this cannot overflow
        ulong sum = 0;
        foreach (var weight in weights)
        {
            sum += weight;
        }

        return sum;
    }
}

/// <summary>Buffers of one worker that samples, for a vocabulary of V.</summary>
internal sealed class SampleWorkspace(int vocabularySize)
{
    /// <summary>[V], the row that sampling changes.</summary>
    public float[] Logits { get; } = new float[vocabularySize];

    /// <summary>[V]</summary>
    public float[] Values { get; } = new float[vocabularySize];

    /// <summary>[V]</summary>
    public ulong[] Weights { get; } = new ulong[vocabularySize];

    /// <summary>Histogram of <see cref="PrefixCut"/>.</summary>
    public ulong[] Bins { get; } = new ulong[PrefixCut.BinCount];
}
