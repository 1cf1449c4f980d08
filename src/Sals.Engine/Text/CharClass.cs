using System.Globalization;

namespace Sals.Engine.Text;

/// <summary>A set of code points: general categories, ranges, white space; as the \p{..}, [..] and \s of a split pattern.</summary>
internal sealed class CharClass
{
    private readonly bool[] _ascii = new bool[128];
    private readonly bool _negated;
    private readonly uint _categories;
    private readonly uint _excludedCategories;
    private readonly bool _space;
    private readonly bool _nonSpace;
    private readonly (int First, int Last)[] _ranges;

    /// <param name="items">What the class lists.</param>
    /// <param name="negated">The class is everything else.</param>
    public CharClass(IReadOnlyList<ClassItem> items, bool negated)
    {
        _negated = negated;
        var ranges = new List<(int, int)>();
        foreach (var item in items)
        {
            switch (item.Kind)
            {
                case ClassItemKind.Range:
                    ranges.Add((item.First, item.Last));
                    break;
                case ClassItemKind.Categories:
                    _categories |= item.CategoryMask;
                    break;
                case ClassItemKind.NotCategories:
                    _excludedCategories |= ~item.CategoryMask;
                    break;
                case ClassItemKind.Space:
                    _space = true;
                    break;
                default:
                    _nonSpace = true;
                    break;
            }
        }

        _ranges = [.. ranges];
        for (var c = 0; c < _ascii.Length; c++)
        {
            _ascii[c] = Compute(c);
        }
    }

    /// <summary>Code units of the class member at <paramref name="position"/> (1 or 2); 0 when there is none.</summary>
    public int Match(ReadOnlySpan<char> text, int position)
    {
        if (position >= text.Length)
        {
            return 0;
        }

        var c = text[position];
        if (c < 128)
        {
            return _ascii[c] ? 1 : 0;
        }

        if (char.IsHighSurrogate(c) && position + 1 < text.Length && char.IsLowSurrogate(text[position + 1]))
        {
            return Compute(char.ConvertToUtf32(c, text[position + 1])) ? 2 : 0;
        }

        return Compute(c) ? 1 : 0;
    }

    private bool Compute(int codePoint)
    {
        foreach (var (first, last) in _ranges)
        {
            if (codePoint >= first && codePoint <= last)
            {
                return !_negated;
            }
        }

        if (_space || _nonSpace)
        {
            var space = codePoint <= char.MaxValue && char.IsWhiteSpace((char)codePoint);
            if (space ? _space : _nonSpace)
            {
                return !_negated;
            }
        }

        var category = 1u << (int)CharUnicodeInfo.GetUnicodeCategory(codePoint);
        return ((_categories | _excludedCategories) & category) != 0 != _negated;
    }
}

internal enum ClassItemKind
{
    Range,
    Categories,
    NotCategories,
    Space,
    NotSpace,
}

/// <summary>One member of a character class. <c>CategoryMask</c> has bit n set for <see cref="UnicodeCategory"/> n.</summary>
internal readonly record struct ClassItem(ClassItemKind Kind, int First = 0, int Last = 0, uint CategoryMask = 0);

/// <summary>Names of general categories as patterns write them.</summary>
internal static class CategoryNames
{
    private static readonly string[] Order =
    [
        "Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd", "Nl", "No", "Zs", "Zl", "Zp", "Cc", "Cf", "Cs", "Co",
        "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Cn",
    ];

    /// <summary>\w of Unicode regular expressions: letters, marks, decimal and letter numbers, connectors.</summary>
    public static uint Word { get; } = Mask("L") | Mask("M") | Mask("Nd") | Mask("Nl") | Mask("Pc");

    /// <summary>The mask of a category or a group of categories; 0 for an unknown name.</summary>
    public static uint Mask(string name)
    {
        var mask = 0u;
        for (var i = 0; i < Order.Length; i++)
        {
            if (Order[i] == name || (name.Length == 1 && Order[i][0] == name[0]))
            {
                mask |= 1u << i;
            }
        }

        return mask;
    }
}
