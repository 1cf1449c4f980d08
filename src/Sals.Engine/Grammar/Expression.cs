using System.Text;

namespace Sals.Engine.Grammar;

/// <summary>A set of byte strings, as a tree.</summary>
internal abstract record Expression
{
    public static readonly Expression Empty = new Sequence([]);

    /// <summary>One byte from Low to High.</summary>
    public sealed record Bytes(byte Low, byte High) : Expression;

    public sealed record Sequence(IReadOnlyList<Expression> Items) : Expression;

    /// <summary>No items: nothing matches.</summary>
    public sealed record Choice(IReadOnlyList<Expression> Items) : Expression;

    /// <param name="Max">-1 = any number.</param>
    public sealed record Repeat(Expression Item, int Min, int Max) : Expression;

    /// <summary>Whatever the rule of that number matches; rules may call themselves.</summary>
    public sealed record Call(int Rule) : Expression;

    /// <summary>The text's UTF-8 bytes.</summary>
    public static Expression Literal(string text) => new Sequence([.. Encoding.UTF8.GetBytes(text).Select(value => new Bytes(value, value))]);

    /// <summary>The special token of that text, as <see cref="TokenTrie"/> spells it.</summary>
    public static Expression Special(string text) => Of(new Bytes(TokenTrie.SpecialMark, TokenTrie.SpecialMark), Literal(text));

    public static Expression Of(params Expression[] items) => new Sequence(items);

    public static Expression Any(params Expression[] items) => new Choice(items);

    public static Expression Optional(Expression item) => new Repeat(item, 0, 1);

    public static Expression Many(Expression item, int min = 0, int max = -1) => new Repeat(item, min, max);
}
