using System.Buffers.Binary;
using System.Text;

namespace Sals.Engine.Tests.Models;

/// <summary>Safetensors bytes put together by hand, right or wrong.</summary>
internal static class RawSafetensors
{
    /// <summary>Length, header and data as given; the length can be forged.</summary>
    public static byte[] Bytes(string header, int dataBytes, ulong? length = null) => Bytes(Encoding.UTF8.GetBytes(header), dataBytes, length);

    public static byte[] Bytes(byte[] header, int dataBytes, ulong? length = null)
    {
        byte[] file = new byte[8 + header.Length + dataBytes];
        BinaryPrimitives.WriteUInt64LittleEndian(file, length ?? (ulong)header.Length);
        header.CopyTo(file, 8);
        return file;
    }

    /// <summary>Header and data of an existing file.</summary>
    public static (byte[] Header, byte[] Data) Split(string path)
    {
        byte[] file = File.ReadAllBytes(path);
        int length = (int)BinaryPrimitives.ReadUInt64LittleEndian(file);
        return (file[8..(8 + length)], file[(8 + length)..]);
    }
}
