namespace Sals.Engine.Models;

/// <summary>
/// A named, row-major, read-only tensor of one or two dimensions that lies in a mapped checkpoint file.
/// Valid until the <see cref="ModelWeights"/> it came from is disposed.
/// </summary>
public abstract class Tensor
{
    public required string Name { get; init; }

    public required ElementType Type { get; init; }

    /// <summary>1 for vectors.</summary>
    public required int Rows { get; init; }

    public required int Columns { get; init; }

    public long ElementCount => (long)Rows * Columns;

    /// <summary>Raw little-endian bytes of rows [first, first + count); count * Columns * element size bytes.</summary>
    public abstract ReadOnlySpan<byte> RowBytes(int first, int count);

    /// <summary>Widens rows [first, first + count) into <paramref name="destination"/> [count, Columns]; exact for every type.</summary>
    public abstract void Read(int first, int count, Span<float> destination);
}
