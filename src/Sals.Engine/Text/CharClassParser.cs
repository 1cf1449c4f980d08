using System.Globalization;

namespace Sals.Engine.Text;

/// <summary>Reads one <see cref="CharClass"/> of a split pattern: a character, an escape, a dot or a bracket.</summary>
/// <remarks>Every method throws <see cref="NotInLanguageException"/> where the pattern leaves the language.</remarks>
internal sealed class CharClassParser(PatternCursor pattern)
{
    /// <summary>The class at hand, which may be a single character.</summary>
    public CharClass Read()
    {
        var c = pattern.Next();
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
        var negated = pattern.Skip('^');
        var items = new List<ClassItem>();
        while (pattern.Peek != ']' || items.Count == 0)
        {
            var c = pattern.Next();
            if (c == '[' || (c == '&' && pattern.Peek == '&'))
            {
                throw new NotInLanguageException();
            }

            var found = c == '\\' ? Escape() : Literal(CodePoint(c));
            if (pattern.IsRange)
            {
                pattern.At++;
                var last = pattern.Next();
                var upper = last == '\\' ? Escape() : Literal(CodePoint(last));
                if (found[0].Kind != ClassItemKind.Range || upper[0].Kind != ClassItemKind.Range || found[0].First > upper[0].First || pattern.IgnoreCase)
                {
                    throw new NotInLanguageException();
                }

                found = [new ClassItem(ClassItemKind.Range, found[0].First, upper[0].First)];
            }

            items.AddRange(found);
        }

        pattern.At++;
        return new CharClass(items, negated);
    }

    private List<ClassItem> Escape()
    {
        var c = pattern.Next();
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
                return pattern.Peek == '{' ? throw new NotInLanguageException() : Literal(Hex(2));
            default:
                return char.IsAsciiLetterOrDigit(c) ? throw new NotInLanguageException() : Literal(c);
        }
    }

    private ClassItem Category(bool inverted)
    {
        var name = pattern.Skip('{') ? pattern.TakeTo('}') : pattern.Next().ToString();
        var mask = name.Length is 1 or 2 ? CategoryNames.Mask(name) : 0;
        if (mask == 0)
        {
            throw new NotInLanguageException();
        }

        return new ClassItem(inverted ? ClassItemKind.NotCategories : ClassItemKind.Categories, CategoryMask: mask);
    }

    private int Hex(int digits) =>
        int.TryParse(pattern.Take(digits), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out var value) ? value : throw new NotInLanguageException();

    private int CodePoint(char first) =>
        char.IsHighSurrogate(first) && char.IsLowSurrogate(pattern.Peek) ? char.ConvertToUtf32(first, pattern.Next()) : first;

    /// <summary>The character; ignoring case also its other cases, with the two non-ASCII letters that fold to s and k.</summary>
    private List<ClassItem> Literal(int codePoint)
    {
        var items = new List<ClassItem> { new(ClassItemKind.Range, codePoint, codePoint) };
        if (pattern.IgnoreCase && codePoint <= char.MaxValue)
        {
            var c = (char)codePoint;
            foreach (var other in new[] { char.ToLowerInvariant(c), char.ToUpperInvariant(c), char.ToLowerInvariant(c) switch { 's' => '\u017F', 'k' => '\u212A', var same => same } })
            {
                items.Add(new ClassItem(ClassItemKind.Range, other, other));
            }
        }

        return items;
    }
}
