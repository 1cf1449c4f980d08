namespace Sals.Engine.Text.Jinja;

/// <summary>The source of a template, how far it has been read, and the tokens read from it, each with its line.</summary>
internal sealed class TemplateSource(string text)
{
    private int _line = 1;
    private int _lineCountedTo;

    public string Text => text;

    public int At { get; set; }

    public bool AtEnd => At >= text.Length;

    public char Current => text[At];

    public List<Token> Tokens { get; } = [];

    public static bool IsSpace(char c) => char.IsWhiteSpace(c) || c is >= '\u001C' and <= '\u001F';

    /// <summary>Steps past what is at hand as long as it is <paramref name="wanted"/>.</summary>
    public void SkipWhile(Func<char, bool> wanted)
    {
        while (!AtEnd && wanted(Current))
        {
            At++;
        }
    }

    /// <summary>Adds a token of the line that has been read so far.</summary>
    public void Add(TokenKind kind, string value) => Tokens.Add(new Token(kind, value, CountLines()));

    /// <summary>With the line that has been read so far.</summary>
    public TemplateException Error(string message) => new(message, CountLines());

    private int CountLines()
    {
        var to = Math.Min(At, text.Length);
        if (to > _lineCountedTo)
        {
            _line += text.AsSpan(_lineCountedTo, to - _lineCountedTo).Count('\n');
            _lineCountedTo = to;
        }

        return _line;
    }
}
