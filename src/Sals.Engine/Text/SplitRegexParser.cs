using System.Globalization;

namespace Sals.Engine.Text;

/// <summary>
/// Reads the regular-expression language that split patterns are written in: alternatives of sequences of characters, classes with
/// ? * + {m,n}, groups (?:..) and (?i:..) optionally followed by ?, and look-aheads over one class. Anything else is refused by returning null.
/// </summary>
internal sealed class SplitRegexParser
{
    private const int MaxDepth = 8;

    /// <summary>Bounds the recursion of parser and matcher, which is one frame or two a pattern item.</summary>
    private const int MaxLength = 2048;

    private const int Unlimited = int.MaxValue;

    private readonly string _pattern;
    private int _at;
    private int _depth;
    private bool _ignoreCase;

    private SplitRegexParser(string pattern) => _pattern = pattern;

    /// <summary>The program of <paramref name="pattern"/>; null when it uses anything outside the language.</summary>
    public static SplitNode? TryParse(string pattern)
    {
        if (pattern.Length > MaxLength)
        {
            return null;
        }

        var parser = new SplitRegexParser(pattern);
        try
        {
            var program = parser.Alternatives(new SplitNode.Accept());
            return parser._at == pattern.Length ? program : null;
        }
        catch (NotInLanguageException)
        {
            return null;
        }
    }

    private char Peek => _at < _pattern.Length ? _pattern[_at] : '\0';

    private bool More => _at < _pattern.Length && Peek is not ('|' or ')');

    private SplitNode Alternatives(SplitNode then)
    {
        if (++_depth > MaxDepth)
        {
            throw new NotInLanguageException();
        }

        var branches = new List<SplitNode> { Sequence(then) };
        while (Peek == '|')
        {
            _at++;
            branches.Add(Sequence(then));
        }

        _depth--;
        return branches.Count == 1 ? branches[0] : new SplitNode.Choice(branches);
    }

    /// <summary>Nodes are made left to right and linked at the end: a group needs to know what follows it.</summary>
    private SplitNode Sequence(SplitNode then)
    {
        if (!More)
        {
            return then;
        }

        if (Peek == '(')
        {
            return Group(then);
        }

        var set = Atom();
        var (min, max) = Quantifier();
        return new SplitNode.Run(set, min, max) { Next = Sequence(then) };
    }

    private SplitNode Group(SplitNode then)
    {
        _at++;
        Expect('?');
        var caseBefore = _ignoreCase;
        switch (Next())
        {
            case '!':
                return LookAhead(wanted: false, then);
            case '=':
                return LookAhead(wanted: true, then);
            case 'i':
                Expect(':');
                _ignoreCase = true;
                break;
            case ':':
                break;
            default:
                throw new NotInLanguageException();
        }

        // what follows is parsed first, from behind the closing bracket, because every branch links to it
        var body = _at;
        var bodyCase = _ignoreCase;
        SkipGroup();
        _ignoreCase = caseBefore;
        var optional = Peek == '?';
        if (optional)
        {
            _at++;
        }

        if (Peek is '*' or '+' or '{' or '?')
        {
            throw new NotInLanguageException();
        }

        var rest = Sequence(then);
        var end = _at;
        _at = body;
        _ignoreCase = bodyCase;
        var inside = Alternatives(rest);
        Expect(')');
        _ignoreCase = caseBefore;
        _at = end;
        return optional ? new SplitNode.Choice([inside, rest]) : inside;
    }

    private SplitNode.Look LookAhead(bool wanted, SplitNode then)
    {
        var set = Atom();
        Expect(')');
        return new SplitNode.Look(set, wanted) { Next = Sequence(then) };
    }

    private void SkipGroup()
    {
        var open = 1;
        while (open > 0)
        {
            switch (Next())
            {
                case '\\':
                    Next();
                    break;
                case '[':
                    _at--;
                    Atom();
                    break;
                case '(':
                    open++;
                    break;
                case ')':
                    open--;
                    break;
            }
        }
    }

    private (int Min, int Max) Quantifier()
    {
        var (min, max) = Peek switch
        {
            '?' => (0, 1),
            '*' => (0, Unlimited),
            '+' => (1, Unlimited),
            '{' => (-1, -1),
            _ => (1, 1),
        };
        if ((min, max) == (1, 1))
        {
            return (1, 1);
        }

        _at++;
        if (min < 0)
        {
            (min, max) = Braces();
        }

        // lazy and possessive forms
        if (Peek is '?' or '+' or '*' or '{')
        {
            throw new NotInLanguageException();
        }

        return (min, max);
    }

    private (int Min, int Max) Braces()
    {
        var end = _pattern.IndexOf('}', _at);
        if (end < 0)
        {
            throw new NotInLanguageException();
        }

        var parts = _pattern[_at..end].Split(',');
        _at = end + 1;
        if (parts.Length > 2 || !int.TryParse(parts[0], NumberStyles.None, null, out var min))
        {
            throw new NotInLanguageException();
        }

        var max = min;
        if (parts.Length == 2 && parts[1].Length == 0)
        {
            max = Unlimited;
        }
        else if (parts.Length == 2 && !int.TryParse(parts[1], NumberStyles.None, null, out max))
        {
            throw new NotInLanguageException();
        }

        return min <= max && max > 0 ? (min, max) : throw new NotInLanguageException();
    }

    private CharClass Atom()
    {
        var c = Next();
        return c switch
        {
            '[' => Bracket(),
            '\\' => new CharClass(Escape(), negated: false),
            '.' => new CharClass([new ClassItem(ClassItemKind.Range, '\n', '\n')], negated: true),
            '^' or '$' or '*' or '+' or '?' or '{' or '}' or ')' or ']' => throw new NotInLanguageException(),
            _ => new CharClass(Literal(CodePoint(c)), negated: false),
        };
    }

    private CharClass Bracket()
    {
        var negated = Peek == '^';
        if (negated)
        {
            _at++;
        }

        var items = new List<ClassItem>();
        while (Peek != ']' || items.Count == 0)
        {
            var c = Next();
            if (c == '[' || (c == '&' && Peek == '&'))
            {
                throw new NotInLanguageException();
            }

            var found = c == '\\' ? Escape() : Literal(CodePoint(c));
            if (Peek == '-' && _at + 1 < _pattern.Length && _pattern[_at + 1] != ']')
            {
                _at++;
                var last = Next();
                var upper = last == '\\' ? Escape() : Literal(CodePoint(last));
                if (found[0].Kind != ClassItemKind.Range || upper[0].Kind != ClassItemKind.Range || found[0].First > upper[0].First || _ignoreCase)
                {
                    throw new NotInLanguageException();
                }

                found = [new ClassItem(ClassItemKind.Range, found[0].First, upper[0].First)];
            }

            items.AddRange(found);
        }

        _at++;
        return new CharClass(items, negated);
    }

    private List<ClassItem> Escape()
    {
        var c = Next();
        switch (c)
        {
            case 's':
                return [new ClassItem(ClassItemKind.Space)];
            case 'S':
                return [new ClassItem(ClassItemKind.NotSpace)];
            case 'd':
                return [new ClassItem(ClassItemKind.Categories, CategoryMask: CategoryNames.Mask("Nd"))];
            case 'w':
                return [new ClassItem(ClassItemKind.Categories, CategoryMask: CategoryNames.Word)];
            case 'p' or 'P':
                return [Category(inverted: c == 'P')];
            case 'r':
                return Literal('\r');
            case 'n':
                return Literal('\n');
            case 't':
                return Literal('\t');
            case 'u':
                return Literal(Hex(4));
            case 'x':
                return Peek == '{' ? throw new NotInLanguageException() : Literal(Hex(2));
            default:
                return char.IsAsciiLetterOrDigit(c) ? throw new NotInLanguageException() : Literal(c);
        }
    }

    private ClassItem Category(bool inverted)
    {
        var name = Next().ToString();
        if (name == "{")
        {
            var end = _pattern.IndexOf('}', _at);
            name = end < 0 ? throw new NotInLanguageException() : _pattern[_at..end];
            _at = end + 1;
        }

        var mask = name.Length is 1 or 2 ? CategoryNames.Mask(name) : 0;
        if (mask == 0)
        {
            throw new NotInLanguageException();
        }

        return new ClassItem(inverted ? ClassItemKind.NotCategories : ClassItemKind.Categories, CategoryMask: mask);
    }

    private int Hex(int digits)
    {
        if (_at + digits > _pattern.Length
            || !int.TryParse(_pattern.AsSpan(_at, digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var value))
        {
            throw new NotInLanguageException();
        }

        _at += digits;
        return value;
    }

    private int CodePoint(char first) =>
        char.IsHighSurrogate(first) && char.IsLowSurrogate(Peek) ? char.ConvertToUtf32(first, Next()) : first;

    /// <summary>The character; ignoring case also its other cases, with the two non-ASCII letters that fold to s and k.</summary>
    private List<ClassItem> Literal(int codePoint)
    {
        var items = new List<ClassItem> { new(ClassItemKind.Range, codePoint, codePoint) };
        if (_ignoreCase && codePoint <= char.MaxValue)
        {
            var c = (char)codePoint;
            foreach (var other in new[] { char.ToLowerInvariant(c), char.ToUpperInvariant(c), char.ToLowerInvariant(c) switch { 's' => '\u017F', 'k' => '\u212A', var same => same } })
            {
                items.Add(new ClassItem(ClassItemKind.Range, other, other));
            }
        }

        return items;
    }

    private char Next() => _at < _pattern.Length ? _pattern[_at++] : throw new NotInLanguageException();

    private void Expect(char c)
    {
        if (Next() != c)
        {
            throw new NotInLanguageException();
        }
    }

    private sealed class NotInLanguageException : Exception
    {
    }
}
