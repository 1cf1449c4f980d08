namespace Sals.Engine.Grammar;

/// <summary>A set of Unicode scalar values as sorted, disjoint ranges, and its UTF-8 form.</summary>
internal sealed class CodePoints
{
    public const int Last = 0x10FFFF;

    // largest value of 1, 2, 3 and 4 bytes
    private static readonly int[] Largest = [0x7F, 0x7FF, 0xFFFF, Last];

    public CodePoints(IEnumerable<(int Low, int High)> ranges)
    {
        var merged = new List<(int Low, int High)>();
        foreach (var (low, high) in ranges.Where(range => range.Low <= range.High).OrderBy(range => range.Low))
        {
            if (merged.Count > 0 && low <= merged[^1].High + 1)
            {
                merged[^1] = (merged[^1].Low, Math.Max(merged[^1].High, high));
            }
            else
            {
                merged.Add((low, high));
            }
        }

        Ranges = merged;
    }

    public static CodePoints All { get; } = new([(0, Last)]);

    public IReadOnlyList<(int Low, int High)> Ranges { get; }

    public static CodePoints Of(int value) => new([(value, value)]);

    public bool Contains(int value) => Ranges.Any(range => range.Low <= value && value <= range.High);

    public CodePoints Not()
    {
        var rest = new List<(int, int)>();
        var next = 0;
        foreach (var (low, high) in Ranges)
        {
            rest.Add((next, low - 1));
            next = high + 1;
        }

        rest.Add((next, Last));
        return new CodePoints(rest);
    }

    public CodePoints And(CodePoints other) => Not().Or(other.Not()).Not();

    public CodePoints Or(CodePoints other) => new(Ranges.Concat(other.Ranges));

    /// <summary>The UTF-8 bytes of every value, surrogates left out.</summary>
    public Expression Utf8()
    {
        var choices = new List<Expression>();
        foreach (var (low, high) in Ranges)
        {
            Split(low, Math.Min(high, 0xD7FF), choices);
            Split(Math.Max(low, 0xE000), high, choices);
        }

        return choices.Count == 1 ? choices[0] : new Expression.Choice(choices);
    }

    /// <summary>Cuts a range until each piece is a product of byte ranges.</summary>
    private static void Split(int low, int high, List<Expression> into)
    {
        if (low > high)
        {
            return;
        }

        foreach (var largest in Largest)
        {
            if (low <= largest && largest < high)
            {
                Split(low, largest, into);
                Split(largest + 1, high, into);
                return;
            }
        }

        for (var bits = 6; bits <= 18; bits += 6)
        {
            var mask = (1 << bits) - 1;
            if (low >> bits == high >> bits || high <= 0x7F)
            {
                continue;
            }

            if ((low & mask) != 0)
            {
                Split(low, low | mask, into);
                Split((low | mask) + 1, high, into);
                return;
            }

            if ((high & mask) != mask)
            {
                Split(low, (high & ~mask) - 1, into);
                Split(high & ~mask, high, into);
                return;
            }
        }

        var (first, last) = (Encode(low), Encode(high));
        into.Add(new Expression.Sequence([.. first.Zip(last, (from, to) => new Expression.Bytes(from, to))]));
    }

    private static byte[] Encode(int value) => value switch
    {
        <= 0x7F => [(byte)value],
        <= 0x7FF => [(byte)(0xC0 | value >> 6), Tail(value)],
        <= 0xFFFF => [(byte)(0xE0 | value >> 12), Tail(value >> 6), Tail(value)],
        _ => [(byte)(0xF0 | value >> 18), Tail(value >> 12), Tail(value >> 6), Tail(value)],
    };

    private static byte Tail(int value) => (byte)(0x80 | (value & 0x3F));
}
