using System.Text;
using System.Text.Json;
using Sals.Engine.Grammar;

namespace Sals.Engine.Tests.Grammar;

/// <summary>Random texts that masks let through.</summary>
internal static class GrammarWalk
{
    public const int Stop = 999;

    private static readonly string[] Closing = ["\"", "}", "]", "\"}", "\"]", "}}"];

    /// <summary>Every byte, and some hundred longer texts that cross the borders of JSON tokens.</summary>
    public static byte[][] Tokens { get; } = MakeTokens();

    public static GrammarCompiler Compiler { get; } = new(() => new TokenTrie(1000, Tokens));

    public static JsonElement Json(string text) => JsonDocument.Parse(text, new JsonDocumentOptions { MaxDepth = 1000 }).RootElement;

    public static bool Allows(uint[] mask, int id) => (mask[id / 32] >> (id % 32) & 1) != 0;

    public static int[] Allowed(TokenMatcher matcher) => [.. Enumerable.Range(0, matcher.Mask.Length * 32).Where(id => Allows(matcher.Mask, id))];

    /// <summary>Draws tokens until the text ends; leans towards closing, so that it does.</summary>
    public static (string Text, List<int> Ids, bool Ended) Run(TokenGrammar grammar, TokenTrie trie, Random random, int limit, int stop = Stop)
    {
        var matcher = new TokenMatcher(grammar, [stop]);
        var closing = Closing.Select(Encoding.UTF8.GetBytes).ToArray();
        var bytes = new List<byte>();
        var ids = new List<int>();
        while (ids.Count < limit)
        {
            var allowed = Allowed(matcher);
            if (allowed.Length == 0)
            {
                throw new InvalidOperationException($"nothing may follow {Encoding.UTF8.GetString([.. bytes])}");
            }

            var ends = random.NextDouble() < (ids.Count > limit / 4 ? 0.9 : 0.3)
                ? allowed.Where(id => id == stop || closing.Any(text => trie.BytesOf(id).SequenceEqual(text))).ToArray() : [];
            var id = ends.Length > 0 ? ends[random.Next(ends.Length)] : allowed[random.Next(allowed.Length)];
            if (id == stop)
            {
                return (Encoding.UTF8.GetString([.. bytes]), ids, true);
            }

            ids.Add(id);
            bytes.AddRange(trie.BytesOf(id));
            var result = matcher.Advance(id);
            if (result == MatchResult.Failed)
            {
                throw new InvalidOperationException(matcher.Failure);
            }

            if (result == MatchResult.Complete)
            {
                return (Encoding.UTF8.GetString([.. bytes]), ids, true);
            }
        }

        return (Encoding.UTF8.GetString([.. bytes]), ids, false);
    }

    /// <summary>Whether a whole text is let through byte by byte and may end.</summary>
    public static bool Matches(TokenGrammar grammar, string text)
    {
        var matcher = new TokenMatcher(grammar, [Stop]);
        var bytes = Encoding.UTF8.GetBytes(text);
        for (var i = 0; i < bytes.Length; i++)
        {
            var result = matcher.Advance(bytes[i]);
            if (result == MatchResult.Failed || (result == MatchResult.Complete && i < bytes.Length - 1))
            {
                return false;
            }
        }

        return matcher.IsComplete;
    }

    private static byte[][] MakeTokens()
    {
        var tokens = Enumerable.Range(0, 1000).Select(_ => Array.Empty<byte>()).ToArray();
        for (var value = 0; value < 256; value++)
        {
            tokens[value] = [(byte)value];
        }

        string[] texts =
        [
            "{\"", "\"}", "\":", "\": ", "\": \"", "\",", "\", \"", "\",\"", "\"}}", "\"]", "\"],\"", "[[", "]]", "[]", "{}", "{{", "}}", "[{\"", "}]", "},{", "}, {", ", ", ": ",
            "true", "false", "null", "tru", "rue", "name", "\"name\"", "\"name\": \"", "age", "value", "a", "ab", "abc", "hello", " hello", " world", "é", "日本", "日", "😀",
            "12", "123", "0.", "-1", ".5", "e5", "1e", "\n", "\n  ", "\n    ", "  ", "\\n", "\\\"", "\\u00", "\\", "x\"", "x\", \"", "]}", "]}\n", "00", "2024-01-01", new string('a', 40), new string(' ', 70), "\"" + new string('a', 50),
        ];
        for (var i = 0; i < texts.Length; i++)
        {
            tokens[300 + i] = Encoding.UTF8.GetBytes(texts[i]);
        }

        return tokens;
    }
}
