namespace Sals.Engine.Text.Jinja;

internal enum TokenKind
{
    Data,
    OpenBlock,
    CloseBlock,
    OpenPrint,
    ClosePrint,
    Name,
    String,
    Integer,
    Float,
    Operator,
    End,
}

/// <param name="Text">Name, operator, digits, or the unescaped contents of data and strings.</param>
internal readonly record struct Token(TokenKind Kind, string Text, int Line);
