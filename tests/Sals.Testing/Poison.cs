using System.Runtime.InteropServices;

namespace Sals.Testing;

/// <summary>A pattern that shows where memory was read or written that should not have been: NaN as float32, and as bfloat16.</summary>
public static class Poison
{
    /// <summary>Every byte of the pattern.</summary>
    public const byte Byte = 0xFF;

    public static void Fill(Span<byte> bytes) => bytes.Fill(Byte);

    public static void Fill(Span<float> values) => Fill(MemoryMarshal.AsBytes(values));

    public static bool IsWhole(ReadOnlySpan<byte> bytes) => !bytes.ContainsAnyExcept(Byte);
}
