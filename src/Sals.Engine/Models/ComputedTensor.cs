using System.Runtime.InteropServices;

namespace Sals.Engine.Models;

/// <summary>A float32 matrix in managed memory where a checkpoint's tensor is expected: weights that were computed, not stored.</summary>
public sealed class ComputedTensor : Tensor
{
    private readonly float[] _values;

    /// <param name="values">[rows, columns]; not copied.</param>
    [System.Diagnostics.CodeAnalysis.SetsRequiredMembers]
    public ComputedTensor(string name, float[] values, int rows, int columns)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(values.Length, checked(rows * columns));
        (Name, Type, Rows, Columns, _values) = (name, ElementType.Float32, rows, columns, values);
    }

    public override ReadOnlySpan<byte> RowBytes(int first, int count) => MemoryMarshal.AsBytes(_values.AsSpan(first * Columns, count * Columns));

    public override void Read(int first, int count, Span<float> destination) => _values.AsSpan(first * Columns, count * Columns).CopyTo(destination);
}
