using System.Diagnostics.CodeAnalysis;

namespace Sals.Engine.Models;

/// <summary>Element types of the safetensors format, named as in its header.</summary>
[SuppressMessage("Naming", "CA1707", Justification = "The names are those of the file format; they are parsed and printed.")]
public enum SafetensorsType
{
    BOOL,
    U8,
    I8,
    F8_E5M2,
    F8_E4M3,
    F8_E8M0,
    F6_E2M3,
    F6_E3M2,
    F4,
    I16,
    U16,
    F16,
    BF16,
    I32,
    U32,
    F32,
    F64,
    I64,
    U64,
    C64,
}

public static class SafetensorsTypeSize
{
    /// <summary>Bits of one element; less than 8 for the packed types.</summary>
    public static int Bits(this SafetensorsType type)
    {
        return type switch
        {
            SafetensorsType.F4 => 4,
            SafetensorsType.F6_E2M3 or SafetensorsType.F6_E3M2 => 6,
            SafetensorsType.I16 or SafetensorsType.U16 or SafetensorsType.F16 or SafetensorsType.BF16 => 16,
            SafetensorsType.I32 or SafetensorsType.U32 or SafetensorsType.F32 => 32,
            SafetensorsType.F64 or SafetensorsType.I64 or SafetensorsType.U64 or SafetensorsType.C64 => 64,
            _ => 8,
        };
    }
}
