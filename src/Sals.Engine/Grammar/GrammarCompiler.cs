using System.Text.Json;

namespace Sals.Engine.Grammar;

/// <summary>Sources to grammars over one vocabulary, on the caller's thread; the last ones are kept. Thread-safe.</summary>
public sealed class GrammarCompiler
{
    private readonly Lazy<TokenTrie> _trie;
    private readonly object _gate = new();
    private readonly LinkedList<(string Key, TokenGrammar Grammar)> _recent = [];

    /// <param name="trie">Called once, when a grammar is first asked for.</param>
    public GrammarCompiler(Func<TokenTrie> trie) => _trie = new Lazy<TokenTrie>(trie);

    public TokenTrie Trie => _trie.Value;

    /// <summary>Any JSON object.</summary>
    public TokenGrammar JsonObject() => Find("object", "", nfa => nfa.NewRule(new JsonText(nfa).AnyObject));

    /// <exception cref="GrammarException">The schema is wrong, uses what cannot be kept, or is too large.</exception>
    public TokenGrammar JsonSchema(JsonElement schema) => Find("schema", schema.GetRawText(), nfa => JsonSchemaGrammar.Compile(nfa, schema));

    /// <summary>Texts that match as a whole.</summary>
    /// <exception cref="GrammarException">The pattern is wrong, uses what is not supported, or is too large.</exception>
    public TokenGrammar Regex(string pattern) => Find("regex", pattern, nfa => nfa.NewRule(RegexGrammar.Parse(pattern, set => set.Utf8(), search: false)));

    /// <summary>One of these texts, none of them empty.</summary>
    public TokenGrammar Choice(IReadOnlyList<string> choices) =>
        Find("choice", string.Join('\0', choices), nfa => nfa.NewRule(new Expression.Choice([.. choices.Select(Expression.Literal)])));

    private TokenGrammar Find(string kind, string source, Func<Nfa, int> build)
    {
        if (source.Length > GrammarLimits.SourceLength)
        {
            throw new GrammarException("", $"expected at most {GrammarLimits.SourceLength} characters, found {source.Length}");
        }

        var key = $"{kind}\0{source}";
        lock (_gate)
        {
            for (var node = _recent.First; node is not null; node = node.Next)
            {
                if (node.Value.Key == key)
                {
                    _recent.Remove(node);
                    _recent.AddFirst(node);
                    return node.Value.Grammar;
                }
            }
        }

        // outside the lock: a slow grammar holds up nobody else; two that are alike may be compiled twice
        var trie = Trie;
        if (trie.MissingBytes.Count > 0)
        {
            throw new GrammarException("", $"this model's vocabulary has no token for {trie.MissingBytes.Count} of the 256 bytes, so not every text can be generated");
        }

        var nfa = new Nfa(Environment.TickCount64 + (long)GrammarLimits.CompileTime.TotalMilliseconds);
        var grammar = new TokenGrammar(nfa, build(nfa), trie);
        lock (_gate)
        {
            _recent.AddFirst((key, grammar));
            if (_recent.Count > GrammarLimits.Cached)
            {
                _recent.RemoveLast();
            }
        }

        return grammar;
    }
}
