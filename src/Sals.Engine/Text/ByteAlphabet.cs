namespace Sals.Engine.Text;

/// <summary>
/// The printable alphabet in which byte-level vocabularies are written: each of the 256 byte values has one character
/// (GPT-2's table: printable Latin-1 stands for itself, the rest is moved to U+0100 and up).
/// </summary>
internal static class ByteAlphabet
{
    private static readonly char[] CharOf = BuildChars();
    private static readonly short[] ByteOf = BuildBytes();

    public static char Char(byte value) => CharOf[value];

    /// <summary>The byte a character stands for; -1 when the character is not in the alphabet.</summary>
    public static int Byte(char value) => value < ByteOf.Length ? ByteOf[value] : -1;

    /// <summary>The bytes that a token written in the alphabet stands for; null when a character is not in it.</summary>
    public static byte[]? Bytes(string token)
    {
        var bytes = new byte[token.Length];
        for (var i = 0; i < token.Length; i++)
        {
            var value = Byte(token[i]);
            if (value < 0)
            {
                return null;
            }

            bytes[i] = (byte)value;
        }

        return bytes;
    }

    private static char[] BuildChars()
    {
        var chars = new char[256];
        var moved = 0;
        for (var b = 0; b < 256; b++)
        {
            var printable = b is (>= '!' and <= '~') or (>= 0xA1 and <= 0xAC) or (>= 0xAE and <= 0xFF);
            chars[b] = printable ? (char)b : (char)(256 + moved++);
        }

        return chars;
    }

    private static short[] BuildBytes()
    {
        var bytes = new short[256 + 68];
        Array.Fill(bytes, (short)-1);
        for (var b = 0; b < 256; b++)
        {
            bytes[CharOf[b]] = (short)b;
        }

        return bytes;
    }
}
