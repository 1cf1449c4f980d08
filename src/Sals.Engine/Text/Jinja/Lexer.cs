namespace Sals.Engine.Text.Jinja;

/// <summary>
/// Template source to tokens, as Jinja2 with trim_blocks and lstrip_blocks on: the newline after a block or comment tag is dropped, and so
/// are blanks before one at the start of a line; - strips all white space on its side, + keeps it.
/// </summary>
internal sealed class Lexer
{
    private readonly TemplateSource _source;
    private readonly string _text;
    private readonly ExpressionLexer _expressions;
    private bool _lineStart = true;
    private bool _stripNext;

    private Lexer(TemplateSource source)
    {
        _source = source;
        _text = source.Text;
        _expressions = new ExpressionLexer(source);
    }

    public static List<Token> Read(string source)
    {
        source = source.Replace("\r\n", "\n", StringComparison.Ordinal).Replace('\r', '\n');
        var text = new TemplateSource(source.EndsWith('\n') ? source[..^1] : source);
        new Lexer(text).Run();
        return text.Tokens;
    }

    private void Run()
    {
        while (!_source.AtEnd)
        {
            var tag = NextTag();
            if (tag < 0)
            {
                Data(_text.Length, strip: '+', isPrint: false);
                break;
            }

            var kind = _text[tag + 1];
            var sign = tag + 2 < _text.Length ? _text[tag + 2] : ' ';
            Data(tag, sign, kind == '{');
            _source.At = tag + 2 + (sign is '-' or '+' ? 1 : 0);
            if (kind == '#')
            {
                Comment();
            }
            else
            {
                Tag(kind == '{');
            }
        }

        _source.Add(TokenKind.End, "");
    }

    private int NextTag()
    {
        for (var i = _text.IndexOf('{', _source.At); i >= 0 && i + 1 < _text.Length; i = _text.IndexOf('{', i + 1))
        {
            if (_text[i + 1] is '{' or '%' or '#')
            {
                return i;
            }
        }

        return -1;
    }

    /// <summary>Text up to <paramref name="end"/>, stripped by the tag before and the tag that follows.</summary>
    private void Data(int end, char strip, bool isPrint)
    {
        var text = _text.AsSpan(_source.At, end - _source.At);
        var first = 0;
        if (_stripNext)
        {
            while (first < text.Length && TemplateSource.IsSpace(text[first]))
            {
                first++;
            }

            _stripNext = false;
        }

        var last = text.Length;
        if (strip == '-')
        {
            while (last > first && TemplateSource.IsSpace(text[last - 1]))
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
            _source.Add(TokenKind.Data, text[first..last].ToString());
        }

        _source.At = end;
        _lineStart = false;
    }

    private void Comment()
    {
        var end = _text.IndexOf("#}", _source.At, StringComparison.Ordinal);
        if (end < 0)
        {
            throw _source.Error("a comment is not closed: expected #}");
        }

        var sign = end > _source.At ? _text[end - 1] : ' ';
        _source.At = end + 2;
        AfterTag(sign);
    }

    private void Tag(bool print)
    {
        _source.Add(print ? TokenKind.OpenPrint : TokenKind.OpenBlock, "");
        var close = print ? "}}" : "%}";
        var brackets = 0;
        var first = _source.Tokens.Count;
        while (true)
        {
            _source.SkipWhile(TemplateSource.IsSpace);
            if (_source.AtEnd)
            {
                throw _source.Error($"a tag is not closed: expected {close}");
            }

            var sign = _source.Current is '-' or '+' ? _source.Current : ' ';
            if (brackets == 0 && string.CompareOrdinal(_text, _source.At + (sign == ' ' ? 0 : 1), close, 0, 2) == 0)
            {
                _source.At += sign == ' ' ? 2 : 3;
                _source.Add(print ? TokenKind.ClosePrint : TokenKind.CloseBlock, "");
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

            _expressions.Read(ref brackets);
        }

        if (!print && _source.Tokens.Count == first + 2 && _source.Tokens[first] is { Kind: TokenKind.Name, Text: "raw" })
        {
            Raw(first - 1);
        }
    }

    private void AfterTag(char sign)
    {
        _stripNext = sign == '-';
        _lineStart = false;
        if (sign is not ('-' or '+') && !_source.AtEnd && _source.Current == '\n')
        {
            _source.At++;
            _lineStart = true;
        }
    }

    /// <summary>{% raw %}: everything to {% endraw %} is data.</summary>
    private void Raw(int openTag)
    {
        _source.Tokens.RemoveRange(openTag, 3);
        var end = 0;
        for (var i = _text.IndexOf("{%", _source.At, StringComparison.Ordinal); i >= 0; i = _text.IndexOf("{%", i + 2, StringComparison.Ordinal))
        {
            // looked for again only when passed: a template of nothing but open tags is searched once
            end = end >= i + 2 ? end : _text.IndexOf("%}", i + 2, StringComparison.Ordinal);
            if (end < 0)
            {
                break;
            }

            if (_text.AsSpan(i + 2, end - i - 2).Trim("-+ \t\n") is "endraw")
            {
                Data(i, _text[i + 2], isPrint: false);
                _source.At = end + 2;
                AfterTag(_text[end - 1]);
                return;
            }
        }

        throw _source.Error("{% raw %} is not closed");
    }
}
