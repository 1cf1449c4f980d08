using System.Globalization;

namespace Sals.Engine.Grammar;

/// <summary>
/// Regular expressions without memory: literals, classes, groups, alternatives, quantifiers. Anchors only at the ends of the whole; back references,
/// look-around, word boundaries and Unicode properties are refused by name.
/// </summary>
internal sealed class RegexGrammar
{
    private static readonly CodePoints Digit = new([('0', '9')]);
    private static readonly CodePoints Word = new([('0', '9'), ('A', 'Z'), ('a', 'z'), ('_', '_')]);
    private static readonly CodePoints Space = new([('\t', '\r'), (' ', ' ')]);
    private static readonly CodePoints NoNewline = new CodePoints([('\n', '\n'), ('\r', '\r')]).Not();

    private readonly int[] _text;
    private readonly Func<CodePoints, Expression> _spell;
    private int _at;
    private int _depth;
    private int? _end;

    private RegexGrammar(string pattern, Func<CodePoints, Expression> spell)
    {
        _text = [.. pattern.EnumerateRunes().Select(rune => rune.Value)];
        _spell = spell;
    }

    /// <param name="spell">How a character is written: UTF-8, or as within a JSON string.</param>
    /// <param name="search">The pattern may match anywhere (JSON schema) unless it is anchored; else the whole text.</param>
    /// <exception cref="GrammarException">Not understood.</exception>
    public static Expression Parse(string pattern, Func<CodePoints, Expression> spell, bool search)
    {
        if (pattern.Length > GrammarLimits.SourceLength)
        {
            throw new GrammarException("", $"expected at most {GrammarLimits.SourceLength} characters, found {pattern.Length}");
        }

        var parser = new RegexGrammar(pattern, spell);
        var start = parser.Take('^');
        var open = !start && search;
        var end = parser._text.Length > parser._at && parser._text[^1] == '$' && !parser.IsEscaped(parser._text.Length - 1);
        if (end)
        {
            parser._end = parser._text.Length - 1;
        }

        // an anchor belongs to its alternative; with both it is meant for the whole only inside a group
        var body = parser.Alternatives(topAnchored: start || end);
        if (parser._at < parser.End)
        {
            throw parser.Wrong("unexpected ')'");
        }

        var any = Expression.Many(spell(CodePoints.All));
        return Expression.Of(open ? any : Expression.Empty, body, search && !end ? any : Expression.Empty);
    }

    private int End => _end ?? _text.Length;

    private bool IsEscaped(int index)
    {
        var slashes = 0;
        while (index - 1 - slashes >= 0 && _text[index - 1 - slashes] == '\\')
        {
            slashes++;
        }

        return slashes % 2 == 1;
    }

    private Expression Alternatives(bool topAnchored = false)
    {
        if (++_depth > GrammarLimits.SourceDepth)
        {
            throw Wrong($"groups nested more than {GrammarLimits.SourceDepth} deep");
        }

        var choices = new List<Expression> { Concatenation() };
        while (Take('|'))
        {
            if (topAnchored && _depth == 1)
            {
                throw Wrong("'|' beside '^' or '$': put the alternatives into a group");
            }

            choices.Add(Concatenation());
        }

        _depth--;
        return choices.Count == 1 ? choices[0] : new Expression.Choice(choices);
    }

    private Expression Concatenation()
    {
        var items = new List<Expression>();
        while (_at < End && _text[_at] is not ('|' or ')'))
        {
            items.Add(Quantified());
        }

        return items.Count == 1 ? items[0] : new Expression.Sequence(items);
    }

    private Expression Quantified()
    {
        var item = Atom();
        while (_at < End)
        {
            var (min, max) = _text[_at] switch
            {
                '*' => (0, -1),
                '+' => (1, -1),
                '?' => (0, 1),
                '{' => ReadBounds(),
                _ => (-1, 0),
            };
            if (min < 0)
            {
                break;
            }

            _at++;
            item = Expression.Many(item, min, max);
            // lazy quantifiers match the same texts
            if (Peek('?'))
            {
                _at++;
            }
            else if (Peek('+'))
            {
                throw Wrong("possessive quantifiers are not supported");
            }
        }

        return item;
    }

    /// <summary>Leaves the position on the closing brace.</summary>
    private (int Min, int Max) ReadBounds()
    {
        _at++;
        var min = ReadNumber();
        var max = min;
        if (Take(','))
        {
            max = Peek('}') ? -1 : ReadNumber();
        }

        return !Peek('}') ? throw Wrong("expected '}'")
            : max >= 0 && max < min ? throw Wrong("the bounds of a repetition are the wrong way round")
            : (min, max);
    }

    private int ReadNumber()
    {
        var start = _at;
        var value = 0;
        while (_at < End && _text[_at] is >= '0' and <= '9')
        {
            value = value * 10 + _text[_at++] - '0';
            if (value > GrammarLimits.Repeat)
            {
                throw Wrong($"expected at most {GrammarLimits.Repeat} repetitions");
            }
        }

        return _at > start ? value : throw Wrong("expected a number; write \\{ for a brace");
    }

    private Expression Atom()
    {
        var c = _text[_at++];
        switch (c)
        {
            case '(':
                return Group();
            case '[':
                return _spell(Class());
            case '.':
                return _spell(NoNewline);
            case '\\':
                return _spell(Escape(inClass: false));
            case '*' or '+' or '?' or '{':
                _at--;
                throw Wrong($"nothing to repeat before '{(char)c}'");
            case '^' or '$':
                _at--;
                throw Wrong($"'{(char)c}' is supported at the {(c == '^' ? "beginning" : "end")} of the whole only");
            default:
                return _spell(CodePoints.Of(c));
        }
    }

    private Expression Group()
    {
        if (Take('?') && !Take(':'))
        {
            throw Wrong("groups that begin with (? other than (?: are not supported (look-around, names, flags)");
        }

        var inner = Alternatives();
        return Take(')') ? inner : throw Wrong("expected ')'");
    }

    private CodePoints Class()
    {
        var inverted = Take('^');
        var ranges = new List<(int, int)>();
        var first = true;
        while (true)
        {
            if (_at >= End)
            {
                throw Wrong("expected ']'");
            }

            if (_text[_at] == ']' && !first)
            {
                _at++;
                break;
            }

            first = false;
            var low = ClassItem();
            if (Peek('-') && _at + 1 < End && _text[_at + 1] != ']')
            {
                _at++;
                var high = ClassItem();
                if (low.Ranges is not [var (from, same)] || from != same || high.Ranges is not [var (to, alike)] || to != alike || to < from)
                {
                    throw Wrong("a range of a class goes from one character to a later one");
                }

                ranges.Add((from, to));
            }
            else
            {
                ranges.AddRange(low.Ranges);
            }
        }

        var set = new CodePoints(ranges);
        return inverted ? set.Not() : set;
    }

    private CodePoints ClassItem()
    {
        if (_at >= End)
        {
            throw Wrong("expected ']'");
        }

        return _text[_at++] is var c and not '\\' ? CodePoints.Of(c) : Escape(inClass: true);
    }

    private CodePoints Escape(bool inClass)
    {
        if (_at >= End)
        {
            throw Wrong("expected a character after '\\'");
        }

        var c = _text[_at++];
        return c switch
        {
            'd' => Digit,
            'D' => Digit.Not(),
            'w' => Word,
            'W' => Word.Not(),
            's' => Space,
            'S' => Space.Not(),
            'n' => CodePoints.Of('\n'),
            'r' => CodePoints.Of('\r'),
            't' => CodePoints.Of('\t'),
            'f' => CodePoints.Of('\f'),
            'v' => CodePoints.Of('\v'),
            'b' when inClass => CodePoints.Of('\b'),
            '0' => CodePoints.Of(0),
            'x' => CodePoints.Of(Hex(2)),
            'u' => CodePoints.Of(Hex(4)),
            (>= '1' and <= '9') or (>= 'a' and <= 'z') or (>= 'A' and <= 'Z') => throw Wrong($"\\{(char)c} is not supported"),
            _ => CodePoints.Of(c),
        };
    }

    private int Hex(int digits)
    {
        var text = string.Concat(_text.Skip(_at).Take(Math.Min(digits, End - _at)).Select(value => value < 128 ? (char)value : ' '));
        _at += digits;
        return text.Length == digits && int.TryParse(text, NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var value)
            && value is < 0xD800 or > 0xDFFF
                ? value
                : throw Wrong($"expected {digits} hexadecimal digits of a character");
    }

    private bool Peek(int value) => _at < End && _text[_at] == value;

    private bool Take(int value)
    {
        var found = Peek(value);
        _at += found ? 1 : 0;
        return found;
    }

    private GrammarException Wrong(string problem) => new("", string.Create(CultureInfo.InvariantCulture, $"{problem} (at character {_at})"));
}
