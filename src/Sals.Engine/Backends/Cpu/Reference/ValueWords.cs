using System.Runtime.Intrinsics;

namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>
/// Unpacks the words of <see cref="ValueQuantizer"/> 16 values at a time. The two halves of a word go to alternate lanes and each lane keeps its own field by
/// a mask; instead of shifting the field down, the lane's factor carries the power of two. All products are exact, so the result is that of code * scale + zero.
/// </summary>
internal static class ValueWords
{
    /// <summary>Values of one call, in as many words as a code has bits.</summary>
    public const int Elements = 32;

    private static readonly Vector512<int> NibbleMask = Masks(4, 0);
    private static readonly Vector512<float> NibbleFactor = Factors(4, 0, 1);
    private static readonly Vector512<int> PairMask = Masks(2, 0);
    private static readonly Vector512<float> PairFactor = Factors(2, 0, 1);
    private static readonly Vector512<int> LowBitMask = Masks(1, 0);
    private static readonly Vector512<float> LowBitFactor = Factors(1, 0, 4);
    private static readonly Vector512<int> HighBitMask = Masks(1, 8);
    private static readonly Vector512<float> HighBitFactor = Factors(1, 8, 4);

    /// <summary>values[i] = code[i] * scale + zero.</summary>
    /// <param name="words">[bits]</param>
    /// <param name="bits">2, 3 or 4</param>
    /// <param name="values">[32]</param>
    public static void Unpack(ReadOnlySpan<uint> words, int bits, float scale, float zero, Span<float> values)
    {
        Vector512<float> low, high, step = Vector512.Create(scale), offset = Vector512.Create(zero);
        switch (bits)
        {
            case 4:
                low = Fields(Vector512.Create(Halves(words[0]), Halves(words[1])), NibbleMask, NibbleFactor * step);
                high = Fields(Vector512.Create(Halves(words[2]), Halves(words[3])), NibbleMask, NibbleFactor * step);
                break;
            case 2:
                low = Fields(Both(words[0]), PairMask, PairFactor * step);
                high = Fields(Both(words[1]), PairMask, PairFactor * step);
                break;
            default:
                low = Fields(Both(words[0]), PairMask, PairFactor * step) + Fields(Both(words[2]), LowBitMask, LowBitFactor * step);
                high = Fields(Both(words[1]), PairMask, PairFactor * step) + Fields(Both(words[2]), HighBitMask, HighBitFactor * step);
                break;
        }

        (low + offset).CopyTo(values);
        (high + offset).CopyTo(values[(Elements / 2)..]);
    }

    private static Vector512<float> Fields(Vector512<int> word, Vector512<int> mask, Vector512<float> factor) => Vector512.ConvertToSingle(word & mask) * factor;

    // even lanes the lower half of the word, odd lanes the upper
    private static Vector256<int> Halves(uint word) => Vector256.Create((word & 0xFFFF) | ((ulong)(word >> 16) << 32)).AsInt32();

    private static Vector512<int> Both(uint word) => Vector512.Create((word & 0xFFFF) | ((ulong)(word >> 16) << 32)).AsInt32();

    // field of lane i within its half word: fields of `bits`, i / 2 of them below it, starting at bit `first`; 4 bits begin again at lane 8
    private static int Shift(int lane, int bits, int first) => first + (bits * (lane / 2) % 16);

    private static Vector512<int> Masks(int bits, int first)
    {
        Span<int> masks = stackalloc int[16];
        for (var i = 0; i < 16; i++)
        {
            masks[i] = ((1 << bits) - 1) << Shift(i, bits, first);
        }

        return Vector512.Create<int>(masks);
    }

    private static Vector512<float> Factors(int bits, int first, float weight)
    {
        Span<float> factors = stackalloc float[16];
        for (var i = 0; i < 16; i++)
        {
            factors[i] = weight / (1 << Shift(i, bits, first));
        }

        return Vector512.Create<float>(factors);
    }
}
