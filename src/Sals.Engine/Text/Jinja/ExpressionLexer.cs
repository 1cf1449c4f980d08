using System.Globalization;
using System.Text;

namespace Sals.Engine.Text.Jinja;

/// <summary>The tokens inside a tag: names, numbers, strings with Python's escapes, operators.</summary>
internal sealed class ExpressionLexer(TemplateSource source)
{
    private static readonly string[] Operators = ["**", "//", "==", "!=", ">=", "<=", "+", "-", "/", "*", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<", "=", ".", ":", "|", ",", ";"];

    /// <summary>Reads the token at hand, which is no white space.</summary>
    /// <param name="brackets">How many are open.</param>
    public void Read(ref int brackets)
    {
        var c = source.Current;
        if (char.IsLetter(c) || c == '_')
        {
            var start = source.At;
            source.SkipWhile(letter => char.IsLetterOrDigit(letter) || letter == '_');
            source.Add(TokenKind.Name, source.Text[start..source.At]);
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
            var found = Array.Find(Operators, o => string.CompareOrdinal(source.Text, source.At, o, 0, o.Length) == 0)
                ?? throw source.Error($"unexpected character '{c}'");
            brackets += found is "(" or "[" or "{" ? 1 : found is ")" or "]" or "}" ? -1 : 0;
            if (brackets < 0)
            {
                throw source.Error($"unexpected '{found}'");
            }

            source.Add(TokenKind.Operator, found);
            source.At += found.Length;
        }
    }

    private void Number()
    {
        var start = source.At;
        Digits();
        var kind = TokenKind.Integer;
        if (source.At + 1 < source.Text.Length && source.Current == '.' && char.IsAsciiDigit(source.Text[source.At + 1]))
        {
            kind = TokenKind.Float;
            source.At++;
            Digits();
        }

        if (!source.AtEnd && source.Current is 'e' or 'E')
        {
            var exponent = source.At + 1 < source.Text.Length && source.Text[source.At + 1] is '+' or '-' ? source.At + 2 : source.At + 1;
            if (exponent < source.Text.Length && char.IsAsciiDigit(source.Text[exponent]))
            {
                kind = TokenKind.Float;
                source.At = exponent;
                Digits();
            }
        }

        source.Add(kind, source.Text[start..source.At].Replace("_", "", StringComparison.Ordinal));
    }

    private void Digits() => source.SkipWhile(digit => char.IsAsciiDigit(digit) || digit == '_');

    private void String(char quote)
    {
        var text = new StringBuilder();
        var start = source.At++;
        while (true)
        {
            if (source.AtEnd)
            {
                source.At = start;
                throw source.Error("a string is not closed");
            }

            var c = source.Text[source.At++];
            if (c == quote)
            {
                break;
            }

            if (c == '\\' && !source.AtEnd)
            {
                Escape(text, source.Text[source.At++]);
            }
            else
            {
                text.Append(c);
            }
        }

        source.Add(TokenKind.String, text.ToString());
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
                text.Append(Rune.IsValid(codePoint) ? new Rune(codePoint).ToString() : throw source.Error($"U+{codePoint:X} is not a character"));
                break;
            default: text.Append('\\').Append(c); break;
        }
    }

    private int Hex(int digits)
    {
        if (source.At + digits > source.Text.Length
            || !int.TryParse(source.Text.AsSpan(source.At, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var value))
        {
            throw source.Error($"expected {digits} hexadecimal digits in a string escape");
        }

        source.At += digits;
        return value;
    }
}
