using System.Text;

namespace Sals.Engine.Grammar;

/// <summary>
/// EBNF as llama.cpp (GBNF) and vLLM (xgrammar) read it: rules <c>name ::= ...</c> with <c>root</c> as the first called, literals, character classes, <c>.</c>,
/// groups, alternatives, <c>* + ? {m,n}</c>, comments with #. Rules may call each other and themselves, but not before they have matched a character.
/// A line break is a blank: a rule ends where the next one begins.
/// </summary>
internal sealed class EbnfGrammar
{
    private readonly Nfa _nfa;
    private readonly EbnfText _text;
    private readonly Dictionary<string, int> _rules = new(StringComparer.Ordinal);
    private readonly HashSet<string> _defined = new(StringComparer.Ordinal);
    private int _depth;

    private EbnfGrammar(Nfa nfa, string text)
    {
        _nfa = nfa;
        _text = new EbnfText(text);
    }

    /// <summary>Adds the rules; gives the one called root.</summary>
    /// <exception cref="GrammarException">Not understood; the message says the line.</exception>
    public static int Compile(Nfa nfa, string text)
    {
        var parser = new EbnfGrammar(nfa, text);
        parser.ReadRules();
        return parser._defined.Contains("root") ? parser._rules["root"] : throw new GrammarException("", "expected a rule called root, found none");
    }

    private void ReadRules()
    {
        _text.SkipBlanks();
        while (!_text.AtEnd)
        {
            var name = _text.ReadName() ?? throw _text.Wrong("expected the name of a rule");
            if (!_text.TakeDefinition())
            {
                throw _text.Wrong($"expected '::=' after '{name}' (this is EBNF, not Lark)");
            }

            if (!_defined.Add(name))
            {
                throw _text.Wrong($"the rule '{name}' is there twice");
            }

            _nfa.Define(RuleOf(name), Alternatives());
            _text.SkipBlanks();
            if (_text.Peek(')'))
            {
                throw _text.Wrong("unexpected ')'");
            }
        }

        foreach (var name in _rules.Keys.Where(name => !_defined.Contains(name)))
        {
            throw new GrammarException("", $"the rule '{name}' is called, but not there");
        }
    }

    private int RuleOf(string name)
    {
        if (!_rules.TryGetValue(name, out var rule))
        {
            _rules[name] = rule = _nfa.NewRule(name);
        }

        return rule;
    }

    private Expression Alternatives()
    {
        if (++_depth > GrammarLimits.SourceDepth)
        {
            throw _text.Wrong($"groups nested more than {GrammarLimits.SourceDepth} deep");
        }

        var choices = new List<Expression> { Concatenation() };
        while (_text.Take('|'))
        {
            choices.Add(Concatenation());
        }

        _depth--;
        return choices.Count == 1 ? choices[0] : new Expression.Choice(choices);
    }

    private Expression Concatenation()
    {
        var items = new List<Expression>();
        while (true)
        {
            _text.SkipBlanks();
            if (_text.AtEnd || _text.Peek('|') || _text.Peek(')') || _text.NextRuleBegins())
            {
                return items.Count == 1 ? items[0] : new Expression.Sequence(items);
            }

            items.Add(Quantified());
        }
    }

    private Expression Quantified()
    {
        var item = Atom();
        while (true)
        {
            _text.SkipBlanks();
            var (min, max) = _text.Current switch { '*' => (0, -1), '+' => (1, -1), '?' => (0, 1), '{' => ReadBounds(), _ => (-1, 0) };
            if (min < 0)
            {
                return item;
            }

            _text.Advance();
            item = new Expression.Repeat(item, min, max);
        }
    }

    /// <summary>{m}, {m,} or {m,n}; stops before the closing brace.</summary>
    private (int Min, int Max) ReadBounds()
    {
        _text.Advance();
        _text.SkipBlanks();
        var min = _text.ReadNumber() ?? 0;
        _text.SkipBlanks();
        var max = min;
        if (_text.Take(','))
        {
            _text.SkipBlanks();
            max = _text.ReadNumber() ?? -1;
            _text.SkipBlanks();
        }

        return !_text.Peek('}') ? throw _text.Wrong("expected {m}, {m,} or {m,n}")
            : max >= 0 && min > max ? throw _text.Wrong("expected the smaller bound first")
            : (min, max);
    }

    private Expression Atom()
    {
        switch (_text.Current)
        {
            case '"':
                return ReadLiteral();
            case '[':
                return ReadClass();
            case '.':
                _text.Advance();
                return CodePoints.All.Utf8();
            case '(':
                _text.Advance();
                if (_text.Peek('='))
                {
                    throw _text.Wrong("look-ahead is not supported");
                }

                var group = Alternatives();
                return _text.Take(')') ? group : throw _text.Wrong("expected ')'");
            case '<':
                throw _text.Wrong("tokens as <...> are not supported; write their text");
            case '!':
                throw _text.Wrong("'!' is not supported");
            case '\'':
                throw _text.Wrong("expected a literal in double quotes");
            default:
                return _text.ReadName() is { } name ? new Expression.Call(RuleOf(name)) : throw _text.Wrong($"unexpected '{char.ConvertFromUtf32(_text.Current)}'");
        }
    }

    private Expression ReadLiteral()
    {
        var text = new StringBuilder();
        _text.Advance();
        while (!_text.Take('"'))
        {
            text.Append(char.ConvertFromUtf32(_text.ReadCharacter("a literal")));
        }

        return Expression.Literal(text.ToString());
    }

    private Expression ReadClass()
    {
        _text.Advance();
        var not = _text.Take('^');
        var ranges = new List<(int, int)>();
        while (!_text.Take(']'))
        {
            var low = _text.ReadCharacter("a character class");
            var high = low;
            if (_text.Peek('-') && _text.Following is not (-1 or ']'))
            {
                _text.Advance();
                high = _text.ReadCharacter("a character class");
            }

            ranges.Add(low <= high ? (low, high) : throw _text.Wrong("expected the smaller character of a range first"));
        }

        var set = new CodePoints(ranges);
        set = not ? set.Not() : set;
        return set.Ranges.Count > 0 ? set.Utf8() : throw _text.Wrong("a class without characters");
    }
}
