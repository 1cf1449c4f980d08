using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;

namespace Sals.Engine.Models;

/// <summary>A tensor at <c>offset</c> of a mapped file, whose range <see cref="SafetensorsFile"/> has checked.</summary>
internal sealed class MappedTensor(MappedFile file, long offset) : Tensor
{
    public override ReadOnlySpan<byte> RowBytes(int first, int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(first);
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(first, Rows - count);
        long rowBytes = (long)Columns * Type.Bytes();
        ArgumentOutOfRangeException.ThrowIfGreaterThan(count * rowBytes, int.MaxValue, nameof(count));
        return file.Bytes(offset + first * rowBytes, (int)(count * rowBytes));
    }

    public override void Read(int first, int count, Span<float> destination)
    {
        var bytes = RowBytes(first, count);
        int elements = bytes.Length / Type.Bytes();
        if (destination.Length < elements)
        {
            throw new ArgumentException($"{Name}: room for {elements} values is needed, {destination.Length} given", nameof(destination));
        }

        switch (Type)
        {
            case ElementType.Float32:
                MemoryMarshal.Cast<byte, float>(bytes).CopyTo(destination);
                break;
            case ElementType.Float16:
                TensorPrimitives.ConvertToSingle(MemoryMarshal.Cast<byte, Half>(bytes), destination);
                break;
            default:
                Widen(MemoryMarshal.Cast<byte, ushort>(bytes), MemoryMarshal.Cast<float, uint>(destination));
                break;
        }
    }

    /// <summary>bfloat16 is the upper half of a float32.</summary>
    private static void Widen(ReadOnlySpan<ushort> source, Span<uint> destination)
    {
        int i = 0;
        for (; i + Vector<ushort>.Count <= source.Length; i += Vector<ushort>.Count)
        {
            Vector.Widen(new Vector<ushort>(source[i..]), out var low, out var high);
            (low << 16).CopyTo(destination[i..]);
            (high << 16).CopyTo(destination[(i + Vector<uint>.Count)..]);
        }

        for (; i < source.Length; i++)
        {
            destination[i] = (uint)source[i] << 16;
        }
    }
}
