using System.Globalization;
using System.Text;

namespace Sals.Engine.Grammar;

/// <summary>
/// EBNF as llama.cpp (GBNF) and vLLM (xgrammar) read it: rules <c>name ::= ...</c> with <c>root</c> as the first called, literals, character classes, <c>.</c>,
/// groups, alternatives, <c>* + ? {m,n}</c>, comments with #. Rules may call each other and themselves, but not before they have matched a character.
/// A line break is a blank: a rule ends where the next one begins.
/// </summary>
internal sealed class EbnfGrammar
{
    private const int MaxName = 128;

    private readonly Nfa _nfa;
    private readonly int[] _text;
    private readonly Dictionary<string, int> _rules = new(StringComparer.Ordinal);
    private readonly HashSet<string> _defined = new(StringComparer.Ordinal);
    private int _at;
    private int _depth;

    private EbnfGrammar(Nfa nfa, string text)
    {
        _nfa = nfa;
        _text = [.. text.EnumerateRunes().Select(rune => rune.Value)];
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
        SkipBlanks();
        while (_at < _text.Length)
        {
            var name = ReadName() ?? throw Wrong("expected the name of a rule");
            if (!TakeDefinition())
            {
                throw Wrong($"expected '::=' after '{name}' (this is EBNF, not Lark)");
            }

            if (!_defined.Add(name))
            {
                throw Wrong($"the rule '{name}' is there twice");
            }

            _nfa.Define(RuleOf(name), Alternatives());
            SkipBlanks();
            if (Peek(')'))
            {
                throw Wrong("unexpected ')'");
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
            throw Wrong($"groups nested more than {GrammarLimits.SourceDepth} deep");
        }

        var choices = new List<Expression> { Concatenation() };
        while (Take('|'))
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
            SkipBlanks();
            if (_at >= _text.Length || Peek('|') || Peek(')') || NextRuleBegins())
            {
                return items.Count == 1 ? items[0] : new Expression.Sequence(items);
            }

            items.Add(Quantified());
        }
    }

    private bool NextRuleBegins()
    {
        var start = _at;
        var begins = ReadName() is not null && TakeDefinition();
        _at = start;
        return begins;
    }

    private Expression Quantified()
    {
        var item = Atom();
        while (true)
        {
            SkipBlanks();
            var (min, max) = _at < _text.Length ? _text[_at] switch { '*' => (0, -1), '+' => (1, -1), '?' => (0, 1), '{' => ReadBounds(), _ => (-1, 0) } : (-1, 0);
            if (min < 0)
            {
                return item;
            }

            _at++;
            item = new Expression.Repeat(item, min, max);
        }
    }

    /// <summary>{m}, {m,} or {m,n}; stops before the closing brace.</summary>
    private (int Min, int Max) ReadBounds()
    {
        _at++;
        SkipBlanks();
        var min = ReadNumber() ?? 0;
        SkipBlanks();
        var max = min;
        if (Take(','))
        {
            SkipBlanks();
            max = ReadNumber() ?? -1;
            SkipBlanks();
        }

        return !Peek('}') ? throw Wrong("expected {m}, {m,} or {m,n}")
            : max >= 0 && min > max ? throw Wrong("expected the smaller bound first")
            : (min, max);
    }

    private int? ReadNumber()
    {
        var start = _at;
        var value = 0;
        while (_at < _text.Length && _text[_at] is >= '0' and <= '9')
        {
            value = (value * 10) + _text[_at++] - '0';
            if (value > GrammarLimits.Repeat)
            {
                throw Wrong($"expected at most {GrammarLimits.Repeat} repetitions");
            }
        }

        return _at > start ? value : null;
    }

    private Expression Atom()
    {
        switch (_text[_at])
        {
            case '"':
                return ReadLiteral();
            case '[':
                return ReadClass();
            case '.':
                _at++;
                return CodePoints.All.Utf8();
            case '(':
                _at++;
                if (Peek('='))
                {
                    throw Wrong("look-ahead is not supported");
                }

                var group = Alternatives();
                return Take(')') ? group : throw Wrong("expected ')'");
            case '<':
                throw Wrong("tokens as <...> are not supported; write their text");
            case '!':
                throw Wrong("'!' is not supported");
            case '\'':
                throw Wrong("expected a literal in double quotes");
            default:
                return ReadName() is { } name ? new Expression.Call(RuleOf(name)) : throw Wrong($"unexpected '{char.ConvertFromUtf32(_text[_at])}'");
        }
    }

    private Expression ReadLiteral()
    {
        var text = new StringBuilder();
        _at++;
        while (!Take('"'))
        {
            text.Append(char.ConvertFromUtf32(ReadCharacter("a literal")));
        }

        return Expression.Literal(text.ToString());
    }

    private Expression ReadClass()
    {
        _at++;
        var not = Take('^');
        var ranges = new List<(int, int)>();
        while (!Take(']'))
        {
            var low = ReadCharacter("a character class");
            var high = low;
            if (Peek('-') && _at + 1 < _text.Length && _text[_at + 1] != ']')
            {
                _at++;
                high = ReadCharacter("a character class");
            }

            ranges.Add(low <= high ? (low, high) : throw Wrong("expected the smaller character of a range first"));
        }

        var set = new CodePoints(ranges);
        set = not ? set.Not() : set;
        return set.Ranges.Count > 0 ? set.Utf8() : throw Wrong("a class without characters");
    }

    private int ReadCharacter(string where)
    {
        if (_at >= _text.Length)
        {
            throw Wrong($"{where} is not closed");
        }

        var c = _text[_at++];
        if (c != '\\')
        {
            return c;
        }

        return _at >= _text.Length ? throw Wrong($"{where} is not closed") : _text[_at++] switch
        {
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            'f' => '\f',
            'v' => '\v',
            'b' => '\b',
            '0' => 0,
            'x' => Hex(2),
            'u' => Hex(4),
            'U' => Hex(8),
            var other and not ((>= '1' and <= '9') or (>= 'a' and <= 'z') or (>= 'A' and <= 'Z')) => other,
            var other => throw Wrong($"\\{(char)other} is not supported"),
        };
    }

    private int Hex(int digits)
    {
        var text = string.Concat(_text.Skip(_at).Take(digits).Select(value => value < 128 ? (char)value : ' '));
        _at += digits;
        return text.Length == digits && int.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var value) && Rune.IsValid(value)
            ? value
            : throw Wrong($"expected {digits} hexadecimal digits of a character");
    }

    private string? ReadName()
    {
        var start = _at;
        while (_at < _text.Length && (_text[_at] is '_' or (>= 'a' and <= 'z') or (>= 'A' and <= 'Z') || (_at > start && _text[_at] is '-' or (>= '0' and <= '9'))))
        {
            _at++;
        }

        return _at == start ? null
            : _at - start > MaxName ? throw Wrong($"expected names of at most {MaxName} characters")
            : string.Concat(_text[start.._at].Select(value => (char)value));
    }

    private bool TakeDefinition()
    {
        SkipBlanks();
        var found = _at + 2 < _text.Length && _text[_at] == ':' && _text[_at + 1] == ':' && _text[_at + 2] == '=';
        _at += found ? 3 : 0;
        return found;
    }

    private void SkipBlanks()
    {
        while (_at < _text.Length && (_text[_at] is ' ' or '\t' or '\r' or '\n' or '#'))
        {
            if (_text[_at++] == '#')
            {
                while (_at < _text.Length && _text[_at] != '\n')
                {
                    _at++;
                }
            }
        }
    }

    private bool Peek(int value) => _at < _text.Length && _text[_at] == value;

    private bool Take(int value)
    {
        var found = Peek(value);
        _at += found ? 1 : 0;
        return found;
    }

    private GrammarException Wrong(string problem)
    {
        var line = 1 + _text.Take(Math.Min(_at, _text.Length)).Count(value => value == '\n');
        return new GrammarException("", string.Create(CultureInfo.InvariantCulture, $"{problem} (line {line})"));
    }
}
