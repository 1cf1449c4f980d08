using System.Numerics.Tensors;
using System.Runtime.InteropServices;

namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>
/// One token's values [D] in groups along the channels, asymmetric: value ~ code * scale + zero with fp16 scale and zero (paper section 4.1,
/// "channel-wise group quantisation"; groups lie within a token so that a gathered token carries its own scales). 16 bits: plain fp16.
/// </summary>
/// <remarks>
/// zero = fp16(min), scale = fp16((max - min) / (2^bits - 1)), code = round((value - zero) / scale), ties to even, clipped; float32 throughout, so
/// the codes are the same on every device. Range is that of fp16; a group that holds a NaN reads back as NaN.
/// Packing, in 32-bit little-endian words: a word of n fields holds element 2j in field j and element 2j + 1 in field n/2 + j, so that one mask
/// yields two neighbours 16 bits apart. 4 bits: 8 fields, 2 bits: 16 fields. 3 bits, for each 32 elements: two words of the low two
/// bits, then one word of the high bits (32 fields of one bit).
/// </remarks>
internal static class ValueQuantizer
{
    private const float HalfMax = 65504;

    /// <param name="values">[D]</param>
    /// <param name="codes">[D * bits / 8]</param>
    /// <param name="scales">[D / group] pairs (scale, zero); empty with 16 bits</param>
    public static void Quantise(ReadOnlySpan<float> values, int bits, int group, Span<byte> codes, Span<Half> scales)
    {
        codes.Clear();
        if (bits == 16)
        {
            var halves = MemoryMarshal.Cast<byte, Half>(codes);
            for (var i = 0; i < values.Length; i++)
            {
                halves[i] = (Half)Math.Clamp(values[i], -HalfMax, HalfMax);
            }

            return;
        }

        var levels = (1 << bits) - 1;
        var words = MemoryMarshal.Cast<byte, uint>(codes);
        for (var g = 0; g * group < values.Length; g++)
        {
            var members = values.Slice(g * group, group);
            var low = Math.Clamp(TensorPrimitives.Min(members), -HalfMax, HalfMax);
            var high = Math.Clamp(TensorPrimitives.Max(members), -HalfMax, HalfMax);
            scales[2 * g] = (Half)((high - low) / levels);
            scales[2 * g + 1] = (Half)low;
            float scale = (float)scales[2 * g], zero = (float)scales[2 * g + 1];
            for (var i = 0; i < group; i++)
            {
                var code = scale > 0 ? Math.Clamp(MathF.Round((members[i] - zero) / scale, MidpointRounding.ToEven), 0, levels) : 0;
                Put(words, bits, g * group + i, float.IsNaN(code) ? 0 : (uint)code);
            }
        }
    }

    /// <summary>
    /// The reverse of <see cref="Quantise"/>; code * scale is exact in float32, so the only rounding is that of the sum.
    /// </summary>
    /// <param name="codes">[D * bits / 8]</param>
    /// <param name="scales">[D / group] pairs (scale, zero)</param>
    /// <param name="values">[D]</param>
    public static void Dequantise(ReadOnlySpan<byte> codes, ReadOnlySpan<Half> scales, int bits, int group, Span<float> values)
    {
        if (bits == 16)
        {
            TensorPrimitives.ConvertTruncating(MemoryMarshal.Cast<byte, Half>(codes)[..values.Length], values);
            return;
        }

        Span<float> wide = stackalloc float[scales.Length];
        TensorPrimitives.ConvertTruncating(scales, wide);
        var words = MemoryMarshal.Cast<byte, uint>(codes);
        for (var i = 0; i < values.Length; i += ValueWords.Elements)
        {
            var g = i / group * 2;
            ValueWords.Unpack(words.Slice(i * bits / 32, bits), bits, wide[g], wide[g + 1], values.Slice(i, ValueWords.Elements));
        }
    }

    private static void Put(Span<uint> words, int bits, int element, uint code)
    {
        if (bits == 3)
        {
            words[element / 32 * 3 + element % 32 / 16] |= (code & 3) << Shift(element, 2);
            words[element / 32 * 3 + 2] |= code >> 2 << Shift(element, 1);
        }
        else
        {
            words[element * bits / 32] |= code << Shift(element, bits);
        }
    }

    // bit position of an element within its word: even elements in the lower half word, odd ones in the upper
    private static int Shift(int element, int bits) => bits * (element % (32 / bits) / 2) + 16 * (element % 2);
}
