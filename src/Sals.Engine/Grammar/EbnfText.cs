using System.Globalization;
using System.Text;

namespace Sals.Engine.Grammar;

/// <summary>The text of an EBNF grammar, character by character: names, escapes, blanks and comments.</summary>
internal sealed class EbnfText
{
    private const int MaxName = 128;

    private readonly int[] _text;
    private int _at;

    public EbnfText(string text) => _text = [.. text.EnumerateRunes().Select(rune => rune.Value)];

    public bool AtEnd => _at >= _text.Length;

    /// <summary>The next character; -1 at the end.</summary>
    public int Current => AtEnd ? -1 : _text[_at];

    /// <summary>The one after it; -1 at the end.</summary>
    public int Following => _at + 1 < _text.Length ? _text[_at + 1] : -1;

    public void Advance() => _at++;

    /// <summary>A rule begins here.</summary>
    public bool NextRuleBegins()
    {
        var start = _at;
        var begins = ReadName() is not null && TakeDefinition();
        _at = start;
        return begins;
    }

    /// <summary>A number of repetitions; null where there is none.</summary>
    public int? ReadNumber()
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

    public int ReadCharacter(string where)
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

    public string? ReadName()
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

    public bool TakeDefinition()
    {
        SkipBlanks();
        var found = _at + 2 < _text.Length && _text[_at] == ':' && _text[_at + 1] == ':' && _text[_at + 2] == '=';
        _at += found ? 3 : 0;
        return found;
    }

    public void SkipBlanks()
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

    public bool Peek(int value) => _at < _text.Length && _text[_at] == value;

    public bool Take(int value)
    {
        var found = Peek(value);
        _at += found ? 1 : 0;
        return found;
    }

    public GrammarException Wrong(string problem)
    {
        var line = 1 + _text.Take(Math.Min(_at, _text.Length)).Count(value => value == '\n');
        return new GrammarException("", string.Create(CultureInfo.InvariantCulture, $"{problem} (line {line})"));
    }
}
