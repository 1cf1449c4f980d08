namespace Sals.Engine.Text.Jinja;

/// <summary>The next token of a template, what it may be, and how deep the grammar is nested there.</summary>
internal sealed class TokenCursor(List<Token> tokens, int maxDepth)
{
    private int _at;
    private int _depth;

    public Token Current => tokens[_at];

    /// <summary>The current token, and a step past it; behind the last one nothing may be asked.</summary>
    public Token Take() => tokens[_at++];

    /// <summary>Bounds the recursion of the parsers; <see cref="Leave"/> ends what this begins.</summary>
    public void Enter()
    {
        if (++_depth > maxDepth)
        {
            throw new TemplateException($"nested deeper than {maxDepth}", Current.Line);
        }
    }

    public void Leave() => _depth--;

    public bool IsOperator(string text) => Current.Kind == TokenKind.Operator && Current.Text == text;

    public bool IsName(string text) => Current.Kind == TokenKind.Name && Current.Text == text;

    /// <summary>Whether the token after the current one is this.</summary>
    public bool IsFollowedBy(TokenKind kind, string text) => tokens[_at + 1].Kind == kind && tokens[_at + 1].Text == text;

    /// <summary>Steps past this operator; false when something else is there.</summary>
    public bool Skip(string text)
    {
        if (!IsOperator(text))
        {
            return false;
        }

        _at++;
        return true;
    }

    /// <summary>Steps past this keyword; false when something else is there.</summary>
    public bool SkipName(string text)
    {
        if (!IsName(text))
        {
            return false;
        }

        _at++;
        return true;
    }

    /// <summary>Any name; <paramref name="expected"/> says in the error what it would be.</summary>
    public string Name(string expected) => Current.Kind == TokenKind.Name ? Take().Text : throw Expected(expected, Current);

    public void ExpectName(string name)
    {
        if (!SkipName(name))
        {
            throw Expected($"'{name}'", Current);
        }
    }

    public void ExpectOperator(string text)
    {
        if (!Skip(text))
        {
            throw Expected($"'{text}'", Current);
        }
    }

    /// <param name="shown">How the template writes it.</param>
    public void Expect(TokenKind kind, string shown)
    {
        if (Current.Kind != kind)
        {
            throw Expected($"'{shown}'", Current);
        }

        _at++;
    }

    public static TemplateException Expected(string expected, Token found) => new($"expected {expected}, found {Describe(found)}", found.Line);

    /// <summary>The token as an error shows it.</summary>
    public static string Describe(Token token) => token.Kind switch
    {
        TokenKind.End => "the end of the template",
        TokenKind.Data => "text",
        TokenKind.CloseBlock => "'%}'",
        TokenKind.ClosePrint => "'}}'",
        TokenKind.OpenBlock => "'{%'",
        TokenKind.OpenPrint => "'{{'",
        _ => $"'{(token.Text.Length > 40 ? token.Text[..40] + "…" : token.Text)}'",
    };
}
