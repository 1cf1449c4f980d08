using System.Runtime.InteropServices;
using Sals.Engine.Sampling;

namespace Sals.Engine.Models;

/// <summary>
/// A bf16 tensor of random numbers with no file behind it (--load-format dummy): element i is a function of (seed, name, i) alone, so that the host and
/// a device which fills its own memory have the same. Values are nearly normal: the centred sum of four uniform 16-bit numbers, scaled.
/// </summary>
public sealed class RandomTensor : Tensor
{
    /// <summary>Standard deviation of the integer sums: 65536 / sqrt(3).</summary>
    private const float SumDeviation = 37837.227f;

    /// <param name="deviation">Standard deviation of the values.</param>
    [System.Diagnostics.CodeAnalysis.SetsRequiredMembers]
    public RandomTensor(string name, int rows, int columns, float deviation, uint seed)
    {
        (Name, Type, Rows, Columns, Seed) = (name, ElementType.BFloat16, rows, columns, seed);
        Factor = deviation / SumDeviation;
        Stream = 2166136261;
        foreach (var c in name)
        {
            // FNV-1a
            Stream = (Stream ^ c) * 16777619;
        }
    }

    public uint Seed { get; }

    /// <summary>Tells tensors of one seed apart.</summary>
    public uint Stream { get; }

    /// <summary>What the integer sums are multiplied by.</summary>
    public float Factor { get; }

    public override ReadOnlySpan<byte> RowBytes(int first, int count)
    {
        var bits = new ushort[checked(count * Columns)];
        var begin = (long)first * Columns;
        for (var i = 0; i < bits.Length; i++)
        {
            var value = BitConverter.SingleToUInt32Bits(Sum(begin + i) * Factor);
            bits[i] = (ushort)((value + 0x7FFF + ((value >> 16) & 1)) >> 16);
        }

        return MemoryMarshal.AsBytes(bits.AsSpan());
    }

    public override void Read(int first, int count, Span<float> destination)
    {
        var bits = MemoryMarshal.Cast<byte, ushort>(RowBytes(first, count));
        for (var i = 0; i < bits.Length; i++)
        {
            destination[i] = BitConverter.UInt32BitsToSingle((uint)bits[i] << 16);
        }
    }

    private int Sum(long index)
    {
        var pair = index / 2;
        var (a, b, c, d) = Philox.Block((uint)pair, (uint)(pair >> 32), Stream, 0, Seed, 0);
        var (low, high) = index % 2 == 0 ? (a, b) : (c, d);
        return (int)(low & 0xFFFF) + (int)(low >> 16) + (int)(high & 0xFFFF) + (int)(high >> 16) - 131070;
    }
}
