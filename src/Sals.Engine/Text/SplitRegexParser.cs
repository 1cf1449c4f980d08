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

    private readonly PatternCursor _pattern;
    private readonly CharClassParser _classes;
    private int _depth;

    private SplitRegexParser(PatternCursor pattern)
    {
        _pattern = pattern;
        _classes = new CharClassParser(pattern);
    }

    /// <summary>The program of <paramref name="pattern"/>; null when it uses anything outside the language.</summary>
    public static SplitNode? TryParse(string pattern)
    {
        if (pattern.Length > MaxLength)
        {
            return null;
        }

        var cursor = new PatternCursor(pattern);
        try
        {
            var program = new SplitRegexParser(cursor).Alternatives(new SplitNode.Accept());
            return cursor.AtEnd ? program : null;
        }
        catch (NotInLanguageException)
        {
            return null;
        }
    }

    private bool More => !_pattern.AtEnd && _pattern.Peek is not ('|' or ')');

    private SplitNode Alternatives(SplitNode then)
    {
        if (++_depth > MaxDepth)
        {
            throw new NotInLanguageException();
        }

        var branches = new List<SplitNode> { Sequence(then) };
        while (_pattern.Skip('|'))
        {
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

        if (_pattern.Peek == '(')
        {
            return Group(then);
        }

        var set = _classes.Read();
        var (min, max) = Quantifier();
        return new SplitNode.Run(set, min, max) { Next = Sequence(then) };
    }

    private SplitNode Group(SplitNode then)
    {
        _pattern.At++;
        _pattern.Expect('?');
        var caseBefore = _pattern.IgnoreCase;
        switch (_pattern.Next())
        {
            case '!':
                return LookAhead(wanted: false, then);
            case '=':
                return LookAhead(wanted: true, then);
            case 'i':
                _pattern.Expect(':');
                _pattern.IgnoreCase = true;
                break;
            case ':':
                break;
            default:
                throw new NotInLanguageException();
        }

        // what follows is parsed first, from behind the closing bracket, because every branch links to it
        var body = _pattern.At;
        var bodyCase = _pattern.IgnoreCase;
        SkipGroup();
        _pattern.IgnoreCase = caseBefore;
        var optional = _pattern.Skip('?');
        if (_pattern.Peek is '*' or '+' or '{' or '?')
        {
            throw new NotInLanguageException();
        }

        var rest = Sequence(then);
        var end = _pattern.At;
        _pattern.At = body;
        _pattern.IgnoreCase = bodyCase;
        var inside = Alternatives(rest);
        _pattern.Expect(')');
        _pattern.IgnoreCase = caseBefore;
        _pattern.At = end;
        return optional ? new SplitNode.Choice([inside, rest]) : inside;
    }

    private SplitNode.Look LookAhead(bool wanted, SplitNode then)
    {
        var set = _classes.Read();
        _pattern.Expect(')');
        return new SplitNode.Look(set, wanted) { Next = Sequence(then) };
    }

    private void SkipGroup()
    {
        var open = 1;
        while (open > 0)
        {
            switch (_pattern.Next())
            {
                case '\\':
                    _pattern.Next();
                    break;
                case '[':
                    _pattern.At--;
                    _classes.Read();
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
        var (min, max) = _pattern.Peek switch
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

        _pattern.At++;
        if (min < 0)
        {
            (min, max) = Braces();
        }

        // lazy and possessive forms
        if (_pattern.Peek is '?' or '+' or '*' or '{')
        {
            throw new NotInLanguageException();
        }

        return (min, max);
    }

    private (int Min, int Max) Braces()
    {
        var parts = _pattern.TakeTo('}').Split(',');
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
}
