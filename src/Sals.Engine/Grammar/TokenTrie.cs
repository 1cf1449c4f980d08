using Sals.Engine.Text;

namespace Sals.Engine.Grammar;

/// <summary>
/// The bytes of all ordinary tokens as a trie in preorder, so that a walk is one pass over arrays and a subtree is skipped by one jump.
/// Special tokens are spelt as <see cref="SpecialMark"/>, which no UTF-8 text has, and their name: only a grammar that asks for one lets it through. Immutable.
/// </summary>
public sealed class TokenTrie
{
    /// <summary>First byte of a special token's spelling.</summary>
    internal const byte SpecialMark = 0xFF;

    private readonly byte[][] _tokens;

    /// <param name="maskBits">Bits of a mask, V of the backend.</param>
    /// <param name="tokens">Bytes of each token [V or fewer]; empty = none that a grammar may use.</param>
    public TokenTrie(int maskBits, byte[][] tokens)
    {
        _tokens = tokens;
        MaskWords = (maskBits + 31) / 32;
        var order = Enumerable.Range(0, Math.Min(maskBits, tokens.Length)).Where(id => tokens[id].Length > 0).ToArray();
        Array.Sort(order, (a, b) => tokens[a].AsSpan().SequenceCompareTo(tokens[b]) is var compared and not 0 ? compared : a.CompareTo(b));
        var bytes = new List<byte>();
        var depths = new List<int>();
        var nodeOf = new int[order.Length];
        byte[] previous = [];
        foreach (var (at, id) in order.Index())
        {
            var common = previous.AsSpan().CommonPrefixLength(tokens[id]);
            for (var depth = common; depth < tokens[id].Length; depth++)
            {
                bytes.Add(tokens[id][depth]);
                depths.Add(depth);
            }

            // an equal text adds no node: the last one is its
            nodeOf[at] = bytes.Count - 1;

            previous = tokens[id];
            MaxLength = Math.Max(MaxLength, previous.Length);
        }

        Tokens = order;
        LongTokens = [.. order.Where(id => tokens[id].Length > GrammarLimits.Lookahead)];
        Bytes = [.. bytes];
        Depths = [.. depths];
        SkipTo = new int[Bytes.Length];
        FirstToken = new int[Bytes.Length + 1];
        var open = new Stack<int>();
        for (var node = 0; node < Bytes.Length; node++)
        {
            while (open.TryPeek(out var above) && Depths[above] >= Depths[node])
            {
                SkipTo[open.Pop()] = node;
            }

            open.Push(node);
        }

        while (open.TryPop(out var rest))
        {
            SkipTo[rest] = Bytes.Length;
        }

        var single = order.Where(id => tokens[id].Length == 1).Select(id => tokens[id][0]).ToHashSet();
        // C0, C1 and F5 to FF occur in no UTF-8 text
        MissingBytes = [.. Enumerable.Range(0, 0xF5).Where(value => value is not (0xC0 or 0xC1)).Select(value => (byte)value).Where(value => !single.Contains(value))];

        // byte order is preorder: each node's tokens lie side by side
        var next = 0;
        for (var node = 0; node <= Bytes.Length; node++)
        {
            FirstToken[node] = next;
            while (next < order.Length && nodeOf[next] == node)
            {
                next++;
            }
        }
    }

    public int MaskWords { get; }

    /// <summary>Tokens of more bytes than <see cref="GrammarLimits.Lookahead"/>.</summary>
    internal int[] LongTokens { get; }

    public int NodeCount => Bytes.Length;

    /// <summary>Bytes of the longest token.</summary>
    public int MaxLength { get; }

    /// <summary>[nodes]: last byte of the node's text.</summary>
    internal byte[] Bytes { get; }

    /// <summary>[nodes]: bytes before it.</summary>
    internal int[] Depths { get; }

    /// <summary>[nodes]: first node that is not below this one.</summary>
    internal int[] SkipTo { get; }

    /// <summary>[nodes + 1]: the node's tokens are Tokens[FirstToken[n] .. FirstToken[n + 1]).</summary>
    internal int[] FirstToken { get; }

    internal int[] Tokens { get; }

    /// <summary>Bytes of UTF-8 text without a token of their own: a text with such a byte may have no spelling.</summary>
    public IReadOnlyList<byte> MissingBytes { get; }

    /// <param name="excluded">Ids that end an answer.</param>
    public static TokenTrie Of(Tokenizer tokenizer, int maskBits, IReadOnlyCollection<int> excluded)
    {
        var tokens = new byte[Math.Min(maskBits, tokenizer.VocabularySize)][];
        for (var id = 0; id < tokens.Length; id++)
        {
            var bytes = excluded.Contains(id) || tokenizer.TokenText(id) is null ? [] : tokenizer.TokenBytes(id);
            // pieces with the mark are part of no text
            tokens[id] = !tokenizer.IsSpecial(id) ? bytes.Contains(SpecialMark) ? [] : bytes.ToArray()
                : bytes.Length > 0 ? [SpecialMark, .. bytes] : [];
        }

        return new TokenTrie(maskBits, tokens);
    }

    /// <summary>Whether there is a special token of that text.</summary>
    internal bool HasSpecial(string text)
    {
        byte[] spelling = [SpecialMark, .. System.Text.Encoding.UTF8.GetBytes(text)];
        return Array.Exists(_tokens, token => token.AsSpan().SequenceEqual(spelling));
    }

    /// <summary>Bytes of a token; empty for one that no grammar allows.</summary>
    public ReadOnlySpan<byte> BytesOf(int id) => id < _tokens.Length ? _tokens[id] : [];
}
