using System.Numerics;

namespace Sals.Engine.Grammar;

/// <summary>
/// A set of tokens, kept as what takes least: all bits, a list of the few in it, or what differs from other masks together. Names and punctuation of a schema allow few tokens,
/// and a string in one context as good as the same as in another, so thousands of places fit where hundreds of full masks would.
/// </summary>
internal sealed class TokenMask
{
    /// <summary>Cost of all bits; a short list costs 1.</summary>
    public const int FullCost = 64;

    private const int Few = 1024;

    private readonly uint[]? _bits;
    private readonly TokenMask[] _parts;
    private readonly int[] _tokens;

    private TokenMask(uint[]? bits, TokenMask[] parts, int[] tokens)
    {
        _bits = bits;
        _parts = parts;
        _tokens = tokens;
    }

    /// <summary>Memory, relative to <see cref="FullCost"/>.</summary>
    public int Cost => _bits is null ? 1 + (_tokens.Length * FullCost / (8 * Few)) : FullCost;

    /// <param name="mask">The set; not kept.</param>
    /// <param name="near">Masks whose union may be nearly the same.</param>
    /// <param name="scratch">As long as the mask; overwritten.</param>
    public static TokenMask Of(uint[] mask, List<TokenMask> near, uint[] scratch)
    {
        mask.CopyTo(scratch, 0);
        if (Tokens(scratch) is { } few)
        {
            return new TokenMask(null, [], few);
        }

        if (near.Count > 0)
        {
            Array.Clear(scratch);
            near.ForEach(part => part.Or(scratch));
            for (var w = 0; w < scratch.Length; w++)
            {
                scratch[w] ^= mask[w];
            }

            if (Tokens(scratch) is { } different)
            {
                return new TokenMask(null, [.. near], different);
            }
        }

        return new TokenMask([.. mask], [], []);
    }

    public void CopyTo(uint[] mask)
    {
        Array.Clear(mask);
        Or(mask);
    }

    /// <summary>Adds the set to a mask; one made of parts to an empty mask only, since it may lack what its parts have.</summary>
    public void Or(uint[] mask)
    {
        if (_bits is { } bits)
        {
            for (var w = 0; w < mask.Length; w++)
            {
                mask[w] |= bits[w];
            }

            return;
        }

        foreach (var part in _parts)
        {
            part.Or(mask);
        }

        foreach (var token in _tokens)
        {
            mask[token >> 5] = _parts.Length == 0 ? mask[token >> 5] | 1u << token : mask[token >> 5] ^ 1u << token;
        }
    }

    /// <summary>The bits that are set, when they are few.</summary>
    private static int[]? Tokens(uint[] mask)
    {
        var count = 0;
        foreach (var word in mask)
        {
            count += BitOperations.PopCount(word);
        }

        if (count > Few)
        {
            return null;
        }

        var tokens = new int[count];
        var at = 0;
        for (var w = 0; w < mask.Length; w++)
        {
            for (var word = mask[w]; word != 0; word &= word - 1)
            {
                tokens[at++] = (w << 5) + BitOperations.TrailingZeroCount(word);
            }
        }

        return tokens;
    }
}
