using System.Buffers;

namespace Sals.Engine.Text;

/// <summary>A token that is found in the text itself, before any splitting.</summary>
/// <param name="Special">Control token: skipped on decoding when asked, and never taken from plain text.</param>
/// <param name="Normalized">Looked for in normalised text instead of the original.</param>
/// <param name="SingleWord">Only where no word character touches it.</param>
/// <param name="StripLeft">Swallows white space before it.</param>
/// <param name="StripRight">Swallows white space after it.</param>
internal sealed record AddedToken(
    int Id, string Content, bool Special, bool Normalized, bool SingleWord, bool StripLeft, bool StripRight);

/// <summary>
/// Finds added tokens in a text, leftmost first and longest of those, with a trie walked from each possible first character.
/// </summary>
internal sealed class AddedTokens
{
    private static readonly CharClass WordClass = new([new ClassItem(ClassItemKind.Categories, CategoryMask: CategoryNames.Word)], negated: false);

    private readonly List<Dictionary<char, int>> _edges = [[]];
    private readonly List<AddedToken?> _tokenAt = [null];
    private readonly SearchValues<char> _firstChars;

    public AddedTokens(IEnumerable<AddedToken> tokens)
    {
        foreach (var token in tokens)
        {
            var node = 0;
            foreach (var c in token.Content)
            {
                if (!_edges[node].TryGetValue(c, out var child))
                {
                    child = _edges.Count;
                    _edges[node].Add(c, child);
                    _edges.Add([]);
                    _tokenAt.Add(null);
                }

                node = child;
            }

            _tokenAt[node] ??= token;
        }

        _firstChars = SearchValues.Create([.. _edges[0].Keys]);
    }

    public bool IsEmpty => _edges.Count == 1;

    /// <summary>Cuts <paramref name="text"/> into stretches without tokens (null) and tokens.</summary>
    /// <param name="text">The text; not normalised or normalised, as the tokens of this set are.</param>
    /// <param name="plain">Where special tokens are plain text: one a code unit; empty = nowhere.</param>
    /// <param name="allPlain">They are plain text everywhere.</param>
    public List<(int Start, int Length, AddedToken? Token)> Cut(ReadOnlySpan<char> text, ReadOnlySpan<bool> plain, bool allPlain)
    {
        var parts = new List<(int Start, int Length, AddedToken? Token)>();
        var done = 0;
        for (var at = 0; at < text.Length;)
        {
            var skip = text[at..].IndexOfAny(_firstChars);
            if (skip < 0)
            {
                break;
            }

            at += skip;
            if (Longest(text, at, plain, allPlain) is not { } token)
            {
                at++;
                continue;
            }

            var end = at + token.Content.Length;
            if (token.SingleWord && TouchesWord(text, at, end))
            {
                at = end;
                continue;
            }

            var start = at;
            while (token.StripLeft && start > done && char.IsWhiteSpace(text[start - 1]))
            {
                start--;
            }

            while (token.StripRight && end < text.Length && char.IsWhiteSpace(text[end]))
            {
                end++;
            }

            if (start > done)
            {
                parts.Add((done, start - done, null));
            }

            parts.Add((start, end - start, token));
            done = at = end;
        }

        if (done < text.Length)
        {
            parts.Add((done, text.Length - done, null));
        }

        return parts;
    }

    private static bool TouchesWord(ReadOnlySpan<char> text, int start, int end) =>
        WordClass.Match(text, end) > 0
        || (start > 0 && WordClass.Match(text, start - (start > 1 && char.IsLowSurrogate(text[start - 1]) ? 2 : 1)) > 0);

    private AddedToken? Longest(ReadOnlySpan<char> text, int at, ReadOnlySpan<bool> plain, bool allPlain)
    {
        AddedToken? longest = null;
        var node = 0;
        var touchesPlain = allPlain;
        for (var i = at; i < text.Length && _edges[node].TryGetValue(text[i], out node); i++)
        {
            touchesPlain |= !plain.IsEmpty && plain[i];
            if (_tokenAt[node] is { } token && !(token.Special && touchesPlain))
            {
                longest = token;
            }
        }

        return longest;
    }
}
