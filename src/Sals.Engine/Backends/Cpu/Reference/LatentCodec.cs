using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Sals.Engine.Latent;

namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>Stored form of latent coordinates: float32, bfloat16 (nearest even) or int8 with one fixed scale per coordinate.</summary>
internal static class LatentCodec
{
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
            default:
                TensorPrimitives.ConvertTruncating(MemoryMarshal.Cast<byte, sbyte>(stored), values);
                TensorPrimitives.Multiply(values, basis.Scale.AsSpan(first, values.Length), values);
                return;
        }
    }

    /// <summary>round(value * inverseScale), ties to even, clipped to -127..127; NaN becomes 0.</summary>
    public static sbyte ToCode(float value, float inverseScale)
    {
        var scaled = Math.Clamp(MathF.Round(value * inverseScale, MidpointRounding.ToEven), -127, 127);
        return float.IsNaN(scaled) ? (sbyte)0 : (sbyte)scaled;
    }

    /// <summary>Upper half of the float32 pattern, rounded to nearest even; NaN stays NaN.</summary>
    public static ushort ToBFloat16(float value)
    {
        var bits = BitConverter.SingleToUInt32Bits(value);
        return float.IsNaN(value) ? (ushort)(bits >> 16 | 0x40) : (ushort)(bits + 0x7FFF + (bits >> 16 & 1) >> 16);
    }
}
