using System.Globalization;
using System.Text;

namespace Sals.Engine.Text.Jinja;

/// <summary>
/// Template source to tokens, as Jinja2 with trim_blocks and lstrip_blocks on: the newline after a block or comment tag is dropped, and so
/// are blanks before one at the start of a line; - strips all white space on its side, + keeps it.
/// </summary>
internal sealed class Lexer
{
    private static readonly string[] Operators = ["**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";"];

    private readonly string _source;
    private readonly List<Token> _tokens = [];
    private int _at;
    private int _line = 1;
    private int _lineCountedTo;
    private bool _lineStart = true;
    private bool _stripNext;

    private Lexer(string source) => _source = source;

    public static List<Token> Read(string source)
    {
        source = source.Replace("\r\n", "\n", StringComparison.Ordinal).Replace('\r', '\n');
        var lexer = new Lexer(source.EndsWith('\n') ? source[..^1] : source);
        lexer.Run();
        return lexer._tokens;
    }

    private void Run()
    {
        while (_at < _source.Length)
        {
            var tag = NextTag();
            if (tag < 0)
            {
                Data(_source.Length, strip: '+', isPrint: false);
                break;
            }

            var kind = _source[tag + 1];
            var sign = tag + 2 < _source.Length ? _source[tag + 2] : ' ';
            Data(tag, sign, kind == '{');
            _at = tag + 2 + (sign is '-' or '+' ? 1 : 0);
            if (kind == '#')
            {
                Comment();
            }
            else
            {
                Tag(kind == '{');
            }
        }

        Add(TokenKind.End, "");
    }

    private int NextTag()
    {
        for (var i = _source.IndexOf('{', _at); i >= 0 && i + 1 < _source.Length; i = _source.IndexOf('{', i + 1))
        {
            if (_source[i + 1] is '{' or '%' or '#')
            {
                return i;
            }
        }

        return -1;
    }

    /// <summary>Text up to <paramref name="end"/>, stripped by the tag before and the tag that follows.</summary>
    private void Data(int end, char strip, bool isPrint)
    {
        var text = _source.AsSpan(_at, end - _at);
        var first = 0;
        if (_stripNext)
        {
            while (first < text.Length && IsSpace(text[first]))
            {
                first++;
            }

            _stripNext = false;
        }

        var last = text.Length;
        if (strip == '-')
        {
            while (last > first && IsSpace(text[last - 1]))
            {
                last--;
            }
        }
        else if (strip != '+' && !isPrint)
        {
            var lineStart = text.LastIndexOf('\n') + 1;
            if ((lineStart > 0 || _lineStart) && text[lineStart..].IndexOfAnyExcept(" \t\v\f") < 0)
            {
                last = Math.Max(first, lineStart);
            }
        }

        if (last > first)
        {
            Add(TokenKind.Data, text[first..last].ToString());
        }

        _at = end;
        _lineStart = false;
    }

    private static bool IsSpace(char c) => char.IsWhiteSpace(c) || c is >= '\u001C' and <= '\u001F';

    private void Comment()
    {
        var end = _source.IndexOf("#}", _at, StringComparison.Ordinal);
        if (end < 0)
        {
            throw Error("a comment is not closed: expected #}");
        }

        var sign = end > _at ? _source[end - 1] : ' ';
        _at = end + 2;
        AfterTag(sign);
    }

    private void Tag(bool print)
    {
        Add(print ? TokenKind.OpenPrint : TokenKind.OpenBlock, "");
        var close = print ? "}}" : "%}";
        var brackets = 0;
        var first = _tokens.Count;
        while (true)
        {
            while (_at < _source.Length && IsSpace(_source[_at]))
            {
                _at++;
            }

            if (_at >= _source.Length)
            {
                throw Error($"a tag is not closed: expected {close}");
            }

            var sign = _source[_at] is '-' or '+' ? _source[_at] : ' ';
            if (brackets == 0 && string.CompareOrdinal(_source, _at + (sign == ' ' ? 0 : 1), close, 0, 2) == 0)
            {
                _at += sign == ' ' ? 2 : 3;
                Add(print ? TokenKind.ClosePrint : TokenKind.CloseBlock, "");
                if (print)
                {
                    _stripNext = sign == '-';
                }
                else
                {
                    AfterTag(sign);
                }

                break;
            }

            Expression(ref brackets);
        }

        if (!print && _tokens.Count == first + 2 && _tokens[first] is { Kind: TokenKind.Name, Text: "raw" })
        {
            Raw(first - 1);
        }
    }

    private void AfterTag(char sign)
    {
        _stripNext = sign == '-';
        _lineStart = false;
        if (sign is not ('-' or '+') && _at < _source.Length && _source[_at] == '\n')
        {
            _at++;
            _lineStart = true;
        }
    }

    /// <summary>{% raw %}: everything to {% endraw %} is data.</summary>
    private void Raw(int openTag)
    {
        _tokens.RemoveRange(openTag, 3);
        for (var i = _source.IndexOf("{%", _at, StringComparison.Ordinal); i >= 0; i = _source.IndexOf("{%", i + 2, StringComparison.Ordinal))
        {
            var end = _source.IndexOf("%}", i, StringComparison.Ordinal);
            if (end >= 0 && _source[(i + 2)..end].Trim('-', '+', ' ', '\t', '\n') == "endraw")
            {
                Data(i, _source[i + 2], isPrint: false);
                _at = end + 2;
                AfterTag(_source[end - 1]);
                return;
            }
        }

        throw Error("{% raw %} is not closed");
    }

    private void Expression(ref int brackets)
    {
        var c = _source[_at];
        if (char.IsLetter(c) || c == '_')
        {
            var start = _at;
            while (_at < _source.Length && (char.IsLetterOrDigit(_source[_at]) || _source[_at] == '_'))
            {
                _at++;
            }

            Add(TokenKind.Name, _source[start.._at]);
        }
        else if (char.IsAsciiDigit(c))
        {
            Number();
        }
        else if (c is '\'' or '"')
        {
            String(c);
        }
        else
        {
            var found = Array.Find(Operators, o => string.CompareOrdinal(_source, _at, o, 0, o.Length) == 0)
                ?? throw Error($"unexpected character '{c}'");
            brackets += found is "(" or "[" or "{" ? 1 : found is ")" or "]" or "}" ? -1 : 0;
            if (brackets < 0)
            {
                throw Error($"unexpected '{found}'");
            }

            Add(TokenKind.Operator, found);
            _at += found.Length;
        }
    }

    private void Number()
    {
        var start = _at;
        Digits();
        var kind = TokenKind.Integer;
        if (_at + 1 < _source.Length && _source[_at] == '.' && char.IsAsciiDigit(_source[_at + 1]))
        {
            kind = TokenKind.Float;
            _at++;
            Digits();
        }

        if (_at < _source.Length && _source[_at] is 'e' or 'E')
        {
            var exponent = _at + 1 < _source.Length && _source[_at + 1] is '+' or '-' ? _at + 2 : _at + 1;
            if (exponent < _source.Length && char.IsAsciiDigit(_source[exponent]))
            {
                kind = TokenKind.Float;
                _at = exponent;
                Digits();
            }
        }

        Add(kind, _source[start.._at].Replace("_", "", StringComparison.Ordinal));
    }

    private void Digits()
    {
        while (_at < _source.Length && (char.IsAsciiDigit(_source[_at]) || _source[_at] == '_'))
        {
            _at++;
        }
    }

    private void String(char quote)
    {
        var text = new StringBuilder();
        var start = _at++;
        while (true)
        {
            if (_at >= _source.Length)
            {
                _at = start;
                throw Error("a string is not closed");
            }

            var c = _source[_at++];
            if (c == quote)
            {
                break;
            }

            if (c == '\\' && _at < _source.Length)
            {
                Escape(text, _source[_at++]);
            }
            else
            {
                text.Append(c);
            }
        }

        Add(TokenKind.String, text.ToString());
    }

    private void Escape(StringBuilder text, char c)
    {
        switch (c)
        {
            case 'n': text.Append('\n'); break;
            case 't': text.Append('\t'); break;
            case 'r': text.Append('\r'); break;
            case 'b': text.Append('\b'); break;
            case 'f': text.Append('\f'); break;
            case 'v': text.Append('\v'); break;
            case 'a': text.Append('\a'); break;
            case '0': text.Append('\0'); break;
            case '\n': break;
            case '\\' or '\'' or '"': text.Append(c); break;
            case 'x': text.Append((char)Hex(2)); break;
            case 'u': text.Append((char)Hex(4)); break;
            case 'U':
                var codePoint = Hex(8);
                text.Append(Rune.IsValid(codePoint) ? new Rune(codePoint).ToString() : throw Error($"U+{codePoint:X} is not a character"));
                break;
            default: text.Append('\\').Append(c); break;
        }
    }

    private int Hex(int digits)
    {
        if (_at + digits > _source.Length
            || !int.TryParse(_source.AsSpan(_at, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var value))
        {
            throw Error($"expected {digits} hexadecimal digits in a string escape");
        }

        _at += digits;
        return value;
    }

    private void Add(TokenKind kind, string text)
    {
        var to = Math.Min(_at, _source.Length);
        if (to > _lineCountedTo)
        {
            _line += _source.AsSpan(_lineCountedTo, to - _lineCountedTo).Count('\n');
            _lineCountedTo = to;
        }

        _tokens.Add(new Token(kind, text, _line));
    }

    private TemplateException Error(string message)
    {
        Add(TokenKind.End, "");
        return new TemplateException(message, _line);
    }
}
