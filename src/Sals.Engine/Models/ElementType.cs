namespace Sals.Engine.Models;

/// <summary>Storage type of a tensor or of cache entries.</summary>
public enum ElementType
{
    Float32,
    Float16,
    BFloat16,
}

public static class ElementTypeSize
{
    /// <summary>Bytes of one element.</summary>
    public static int Bytes(this ElementType type) => type == ElementType.Float32 ? 4 : 2;
}
