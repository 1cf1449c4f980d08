namespace Sals.Engine.Sampling;

/// <summary>
/// Philox4x32-10, a counter-based generator: the same key and counter give the same numbers on every device, in any order.
/// Salmon, Moraes, Dror, Shaw, "Parallel Random Numbers: As Easy as 1, 2, 3" (SC 2011).
/// </summary>
public static class Philox
{
    private const uint MultiplierA = 0xD2511F53;
    private const uint MultiplierB = 0xCD9E8D57;
    private const uint WeylA = 0x9E3779B9;
    private const uint WeylB = 0xBB67AE85;
    private const int Rounds = 10;

    /// <summary>The four words of one counter (c0, c1, c2, c3) under one key (k0, k1).</summary>
    public static (uint X0, uint X1, uint X2, uint X3) Block(uint c0, uint c1, uint c2, uint c3, uint k0, uint k1)
    {
        for (var round = 0; round < Rounds; round++)
        {
            var a = (ulong)MultiplierA * c0;
            var b = (ulong)MultiplierB * c2;
            (c0, c1, c2, c3) = ((uint)(b >> 32) ^ c1 ^ k0, (uint)b, (uint)(a >> 32) ^ c3 ^ k1, (uint)a);
            k0 += WeylA;
            k1 += WeylB;
        }

        return (c0, c1, c2, c3);
    }

    /// <summary>
    /// 64 uniform bits for the token at <paramref name="position"/> of a sequence: key = seed, counter = (position, stream, 0, 0), the first
    /// word being the low half.
    /// </summary>
    public static ulong Draw(ulong seed, uint stream, int position)
    {
        var (low, high, _, _) = Block((uint)position, stream, 0, 0, (uint)seed, (uint)(seed >> 32));
        return ((ulong)high << 32) | low;
    }
}
