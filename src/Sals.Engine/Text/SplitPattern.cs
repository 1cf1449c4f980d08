using System.Text.RegularExpressions;

namespace Sals.Engine.Text;

/// <summary>Finds the non-overlapping matches of a pre-tokenizer's pattern, leftmost first.</summary>
internal abstract class SplitPattern
{
    /// <summary>Appends (start, length) of every non-empty match in <paramref name="text"/>.</summary>
    public abstract void FindAll(ReadOnlySpan<char> text, List<(int Start, int Length)> matches);

    /// <summary>
    /// Takes the small language of the known families when the pattern is written in it, otherwise .NET's non-backtracking engine.
    /// </summary>
    /// <exception cref="TokenizerException">The pattern is in neither language.</exception>
    public static SplitPattern FromRegex(string pattern)
    {
        if (pattern.Length > 16_384)
        {
            throw new TokenizerException($"tokenizer.json: a regular expression of {pattern.Length} characters (at most 16384)");
        }

        if (SplitRegexParser.TryParse(pattern) is { } program)
        {
            return new SplitRegex(program);
        }

        try
        {
            return new NonBacktrackingPattern(new Regex(pattern, RegexOptions.NonBacktracking | RegexOptions.CultureInvariant));
        }
        catch (Exception e) when (e is ArgumentException or NotSupportedException)
        {
            throw new TokenizerException($"tokenizer.json: regular expression \"{pattern}\" is not supported: {e.Message}", e);
        }
    }

    public static SplitPattern FromLiteral(string literal) => new LiteralPattern(literal);

    private sealed class LiteralPattern(string literal) : SplitPattern
    {
        public override void FindAll(ReadOnlySpan<char> text, List<(int Start, int Length)> matches)
        {
            if (literal.Length == 0)
            {
                return;
            }

            for (var start = 0; ;)
            {
                var found = text[start..].IndexOf(literal, StringComparison.Ordinal);
                if (found < 0)
                {
                    return;
                }

                matches.Add((start + found, literal.Length));
                start += found + literal.Length;
            }
        }
    }

    private sealed class NonBacktrackingPattern(Regex regex) : SplitPattern
    {
        public override void FindAll(ReadOnlySpan<char> text, List<(int Start, int Length)> matches)
        {
            foreach (var match in regex.EnumerateMatches(text))
            {
                if (match.Length > 0)
                {
                    matches.Add((match.Index, match.Length));
                }
            }
        }
    }
}
