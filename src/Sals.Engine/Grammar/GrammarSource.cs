using System.Globalization;
using System.Text;
using System.Text.Json;
using Sals.Engine.Text.Answers;

namespace Sals.Engine.Grammar;

/// <summary>What a grammar is made from: one of the forms a request may bring, or two of them joined. Equal keys mean equal grammars.</summary>
public sealed class GrammarSource
{
    private readonly Func<Nfa, TokenTrie, int> _build;

    private GrammarSource(string kind, string text, Func<Nfa, TokenTrie, int> build, int limit = GrammarLimits.SourceLength)
    {
        if (text.Length > limit)
        {
            throw new GrammarException("", $"expected at most {limit} characters, found {text.Length}");
        }

        Key = string.Create(CultureInfo.InvariantCulture, $"{kind}:{text.Length}:{text}");
        _build = build;
    }

    internal string Key { get; }

    /// <summary>Any JSON object.</summary>
    public static GrammarSource JsonObject() => new("object", "", (nfa, _) => nfa.NewRule(new JsonText(nfa).AnyObject));

    /// <exception cref="GrammarException">Too long.</exception>
    public static GrammarSource JsonSchema(JsonElement schema) => new("schema", schema.GetRawText(), (nfa, _) => JsonSchemaGrammar.Compile(nfa, new JsonText(nfa), schema));

    /// <summary>Texts that match as a whole.</summary>
    /// <exception cref="GrammarException">Too long.</exception>
    public static GrammarSource Regex(string pattern) => new("regex", pattern, (nfa, _) => nfa.NewRule(RegexGrammar.Parse(pattern, set => set.Utf8(), search: false)));

    /// <summary>One of these texts, none of them empty.</summary>
    /// <exception cref="GrammarException">Too long.</exception>
    public static GrammarSource Choice(IReadOnlyList<string> choices) =>
        new("choice", string.Join('\0', choices), (nfa, _) => nfa.NewRule(new Expression.Choice([.. choices.Select(Expression.Literal)])));

    /// <summary>Texts that the rule "root" of an EBNF grammar matches.</summary>
    /// <exception cref="GrammarException">Too long.</exception>
    public static GrammarSource Ebnf(string grammar) => new("ebnf", grammar, (nfa, _) => EbnfGrammar.Compile(nfa, grammar));

    /// <summary>One call of one of the tools in the model's own way of writing it, or several.</summary>
    /// <exception cref="GrammarException">Too long.</exception>
    public static GrammarSource ToolCalls(ToolCallFormat format, IReadOnlyList<ToolSignature> tools, bool several)
    {
        var text = new StringBuilder(several ? "several" : "one").Append(' ').Append(format);
        foreach (var tool in tools)
        {
            text.Append('\0').Append(tool.Name).Append('\0').Append(tool.Parameters?.GetRawText());
        }

        return new GrammarSource("tools", text.ToString(), (nfa, trie) => ToolCallGrammar.Compile(nfa, trie, format, tools, several), GrammarLimits.ToolsLength);
    }

    /// <summary>The same, whose faults say where in the request they are.</summary>
    public GrammarSource At(string path) => new(
        "", Key,
        (nfa, trie) =>
        {
            try
            {
                return _build(nfa, trie);
            }
            catch (GrammarException exception)
            {
                throw new GrammarException(path + exception.Path, exception.Message);
            }
        },
        int.MaxValue);

    /// <summary>This or that.</summary>
    public GrammarSource Or(GrammarSource other) => new(
        "or", Key + other.Key,
        (nfa, trie) => nfa.NewRule(Expression.Any(new Expression.Call(_build(nfa, trie)), new Expression.Call(other._build(nfa, trie)))), int.MaxValue);

    /// <summary>Reasoning comes first: free text to its end mark and two line breaks. A model that may also answer at once is held to the grammar at once then.</summary>
    public GrammarSource AfterReasoning(ReasoningStart start) => start == ReasoningStart.Closed ? this : new GrammarSource(
        "after", start + Key,
        (nfa, trie) =>
        {
            var inner = new Expression.Call(_build(nfa, trie));
            var rule = nfa.NewRule();
            var from = nfa.Start(rule);
            if (start == ReasoningStart.Optional)
            {
                nfa.Skip(nfa.Emit(inner, from), nfa.End(rule));
                from = nfa.Emit(Mark(ReasoningMarks.Begin, trie), from);
            }

            // a state of its own: the text's loop must not lead back to what comes before it
            var text = nfa.NewState();
            nfa.Skip(from, text);
            var after = nfa.NewState();
            if (trie.HasSpecial(ReasoningMarks.End))
            {
                nfa.Skip(nfa.Emit(Expression.Special(ReasoningMarks.End), text), after);
            }

            nfa.Skip(nfa.EmitUntil(Encoding.UTF8.GetBytes(ReasoningMarks.End), text), after);
            nfa.Skip(nfa.Emit(Expression.Of(Expression.Literal(ReasoningMarks.Separator), inner), after), nfa.End(rule));
            return rule;
        },
        int.MaxValue);

    internal int Build(Nfa nfa, TokenTrie trie) => _build(nfa, trie);

    /// <summary>A mark of the model's own: its special token where there is one, else its text.</summary>
    internal static Expression Mark(string text, TokenTrie trie) => trie.HasSpecial(text) ? Expression.Special(text) : Expression.Literal(text);
}
