using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Sals.Engine.Latent;

namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>Stored form of latent coordinates: float32, bfloat16 (nearest even), or int8 and int4 codes with one fixed scale per coordinate.</summary>
internal static class LatentCodec
{
    /// <summary>A step of int4 codes in steps of int8 codes: 2.5 standard deviations in 7 steps, which loses least of a normal coordinate, against 6 in 127.</summary>
    public const float Int4Step = 2.5f / 7 * 127 / 6;

    /// <summary>Stores n coordinates that begin at coordinate <paramref name="first"/> of the basis.</summary>
    /// <param name="values">[n]</param>
    /// <param name="stored">[n * bytes of the format]</param>
    public static void Store(ReadOnlySpan<float> values, LatentFormat format, LatentBasisLayer basis, int first, Span<byte> stored)
    {
        switch (format)
        {
            case LatentFormat.Float32:
                values.CopyTo(MemoryMarshal.Cast<byte, float>(stored));
                return;
            case LatentFormat.BFloat16:
                var halves = MemoryMarshal.Cast<byte, ushort>(stored);
                for (var i = 0; i < values.Length; i++)
                {
                    halves[i] = ToBFloat16(values[i]);
                }

                return;
            case LatentFormat.Int4:
                for (var i = 0; i < values.Length; i += 2)
                {
                    stored[i / 2] = (byte)((ToCode(values[i], basis.InverseScale[first + i] / Int4Step, 7) & 15) | (ToCode(values[i + 1], basis.InverseScale[first + i + 1] / Int4Step, 7) << 4));
                }

                return;
            default:
                var codes = MemoryMarshal.Cast<byte, sbyte>(stored);
                for (var i = 0; i < values.Length; i++)
                {
                    codes[i] = ToCode(values[i], basis.InverseScale[first + i]);
                }

                return;
        }
    }

    /// <summary>Widens n stored coordinates; exact for float32 and bfloat16, code * scale for int8.</summary>
    /// <param name="stored">[n * bytes of the format]</param>
    /// <param name="values">[n]</param>
    public static void Load(ReadOnlySpan<byte> stored, LatentFormat format, LatentBasisLayer basis, int first, Span<float> values)
    {
        switch (format)
        {
            case LatentFormat.Float32:
                MemoryMarshal.Cast<byte, float>(stored).CopyTo(values);
                return;
            case LatentFormat.BFloat16:
                var bits = MemoryMarshal.Cast<float, uint>(values);
                TensorPrimitives.ConvertTruncating(MemoryMarshal.Cast<byte, ushort>(stored), bits);
                TensorPrimitives.ShiftLeft(bits, 16, bits);
                return;
            case LatentFormat.Int4:
                for (var i = 0; i < values.Length; i++)
                {
                    values[i] = Nibble(stored, i) * Int4Step * basis.Scale[first + i];
                }

                return;
            default:
                TensorPrimitives.ConvertTruncating(MemoryMarshal.Cast<byte, sbyte>(stored), values);
                TensorPrimitives.Multiply(values, basis.Scale.AsSpan(first, values.Length), values);
                return;
        }
    }

    /// <summary>Code i of int4 codes, -8..7.</summary>
    public static int Nibble(ReadOnlySpan<byte> stored, int i) => (sbyte)(i % 2 == 0 ? stored[i / 2] << 4 : stored[i / 2] & 0xF0) >> 4;

    /// <summary>round(value * inverseScale), ties to even, clipped to -most..most; NaN becomes 0.</summary>
    public static sbyte ToCode(float value, float inverseScale, int most = 127)
    {
        var scaled = Math.Clamp(MathF.Round(value * inverseScale, MidpointRounding.ToEven), -most, most);
        return float.IsNaN(scaled) ? (sbyte)0 : (sbyte)scaled;
    }

    /// <summary>Upper half of the float32 pattern, rounded to nearest even; NaN stays NaN.</summary>
    public static ushort ToBFloat16(float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value) ? (ushort)(bits >> 16 | 0x40) : (ushort)(bits + 0x7FFF + (bits >> 16 & 1) >> 16);
    }
}
