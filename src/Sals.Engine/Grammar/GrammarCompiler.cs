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

    /// <exception cref="GrammarException">The source is wrong, uses what cannot be kept, or is too large.</exception>
    public TokenGrammar Compile(GrammarSource source)
    {
        if (Find(source) is { } known)
        {
            return known;
        }

        // outside the lock: a slow grammar holds up nobody else; two that are alike may be compiled twice
        var trie = Trie;
        if (trie.MissingBytes.Count > 0)
        {
            throw new GrammarException("", $"this model's vocabulary has no token for {trie.MissingBytes.Count} of the 256 bytes, so not every text can be generated");
        }

        var nfa = new Nfa(Environment.TickCount64 + (long)GrammarLimits.CompileTime.TotalMilliseconds);
        var grammar = new TokenGrammar(nfa, source.Build(nfa, trie), trie);
        lock (_gate)
        {
            _recent.AddFirst((source.Key, grammar));
            if (_recent.Count > GrammarLimits.Cached)
            {
                _recent.RemoveLast();
            }
        }

        return grammar;
    }

    /// <summary>A grammar that is there already; null when it has to be compiled.</summary>
    public TokenGrammar? Find(GrammarSource source)
    {
        lock (_gate)
        {
            for (var node = _recent.First; node is not null; node = node.Next)
            {
                if (node.Value.Key == source.Key)
                {
                    _recent.Remove(node);
                    _recent.AddFirst(node);
                    return node.Value.Grammar;
                }
            }
        }

        return null;
    }

    public TokenGrammar JsonObject() => Compile(GrammarSource.JsonObject());

    /// <inheritdoc cref="Compile"/>
    public TokenGrammar JsonSchema(JsonElement schema) => Compile(GrammarSource.JsonSchema(schema));

    /// <inheritdoc cref="Compile"/>
    public TokenGrammar Regex(string pattern) => Compile(GrammarSource.Regex(pattern));

    /// <inheritdoc cref="Compile"/>
    public TokenGrammar Choice(IReadOnlyList<string> choices) => Compile(GrammarSource.Choice(choices));
}
