namespace Sals.Engine.Tests.Models;

/// <summary>Good bytes with one to three changes: bits, digits, stretches taken out or doubled, pieces that mean something.</summary>
internal static class Mutation
{
    // pieces that steer random bytes towards the interesting values
    private static readonly string[] Pieces =
    [
        "null", "true", "-1", "0", "9223372036854775807", "18446744073709551616", "1e999", "-0.0", "\"\"", "[]", "{}", "[[[[", "\\ud800", "\\u0000", "NaN",
        "\"F8_E4M3\"", "\"F4\"", "..", "/", ",", ":", "\"", "}", "]", "4294967296", "\"yarn\"", "\"rope_type\"", "\"model.norm.weight\"",
        "{%", "%}", "{{", "}}", "range(100000)", "[::-1]", "|", "loop.", "endfor", "\u2581", "(?i:", "{1,999}", "\\p{L}", "[^", "2147483648",
    ];

    public static byte[] Of(byte[] good, Random random)
    {
        var bytes = new List<byte>(good);
        for (int change = random.Next(1, 4); change > 0 && bytes.Count > 0; change--)
        {
            int at = random.Next(bytes.Count);
            switch (random.Next(8))
            {
                case 0:
                    bytes[at] ^= (byte)(1 << random.Next(8));
                    break;
                case 1:
                    bytes[at] = (byte)random.Next(256);
                    break;
                case 2:
                    bytes.RemoveRange(at, Math.Min(bytes.Count - at, random.Next(1, 20)));
                    break;
                case 3:
                    bytes.InsertRange(at, bytes.GetRange(at, Math.Min(bytes.Count - at, random.Next(1, 60))));
                    break;
                case 4:
                    bytes[at] = (byte)('0' + random.Next(10));
                    break;
                case 5:
                case 6:
                    // the rest of a value up to the next delimiter becomes another value
                    int end = at;
                    while (end < bytes.Count && !",:}]\n"u8.Contains(bytes[end]))
                    {
                        end++;
                    }

                    bytes.RemoveRange(at, end - at);
                    bytes.InsertRange(at, System.Text.Encoding.UTF8.GetBytes(Pieces[random.Next(Pieces.Length)]));
                    break;
                default:
                    byte[] piece = System.Text.Encoding.UTF8.GetBytes(Pieces[random.Next(Pieces.Length)]);
                    bytes.RemoveRange(at, Math.Min(bytes.Count - at, random.Next(0, piece.Length + 1)));
                    bytes.InsertRange(at, piece);
                    break;
            }
        }

        return [.. bytes];
    }
}
