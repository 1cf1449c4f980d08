namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>
/// Keeps the shortest prefix of the order (logit descending, id ascending) that reaches a target, without sorting: a radix search for
/// the last logit kept, in three passes over 11, 11 and 10 bits of its order-preserving integer.
/// </summary>
internal static class PrefixCut
{
    public const int BinCount = 1 << 11;

    /// <param name="logits">[V], the order.</param>
    /// <param name="weights">[V]; entries that are 0 take no part, and what is cut becomes 0. Equal logits have equal weights.</param>
    /// <param name="target">Number of entries, or their mass, to reach; at least 1. Everything is kept when the target is beyond reach.</param>
    /// <param name="bins">[<see cref="BinCount"/>], workspace.</param>
    public static void Keep(ReadOnlySpan<float> logits, Span<ulong> weights, ulong target, bool byMass, Span<ulong> bins)
    {
        ulong above = 0;
        ulong prefix = 0;
        ReadOnlySpan<int> widths = [11, 11, 10];
        var shift = 32;
        foreach (var width in widths)
        {
            shift -= width;
            bins.Clear();
            for (var i = 0; i < logits.Length; i++)
            {
                ulong key = Key(logits[i]);
                if (weights[i] != 0 && key >> (shift + width) == prefix)
                {
                    bins[(int)(key >> shift) & ((1 << width) - 1)] += byMass ? weights[i] : 1;
                }
            }

            var bin = (1 << width) - 1;
            while (above + bins[bin] < target)
            {
                above += bins[bin];
                if (--bin < 0)
                {
                    return;
                }
            }

            prefix = (prefix << width) | (uint)bin;
        }

        // of the entries equal to the last logit kept, only as many as the target still needs
        for (var i = 0; i < logits.Length; i++)
        {
            if (weights[i] == 0)
            {
                continue;
            }

            ulong key = Key(logits[i]);
            if (key < prefix || (key == prefix && above >= target))
            {
                weights[i] = 0;
            }
            else if (key == prefix)
            {
                above += byMass ? weights[i] : 1;
            }
        }
    }

    /// <summary>Integers in the order of the floats; adding zero makes -0 and 0 the same.</summary>
    private static uint Key(float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value + 0f);
        return (bits & 0x80000000) != 0 ? ~bits : bits | 0x80000000;
    }
}
