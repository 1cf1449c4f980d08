namespace Sals.Engine.Text;

/// <summary>A split pattern, how far it has been read, and whether letters there stand for both cases.</summary>
internal sealed class PatternCursor(string pattern)
{
    public int At { get; set; }

    public bool IgnoreCase { get; set; }

    public bool AtEnd => At >= pattern.Length;

    /// <summary>The character at hand; U+0000 at the end.</summary>
    public char Peek => AtEnd ? '\0' : pattern[At];

    /// <summary>Inside brackets: a hyphen is at hand, and not the last character of the class.</summary>
    public bool IsRange => Peek == '-' && At + 1 < pattern.Length && pattern[At + 1] != ']';

    /// <summary>Steps past the character at hand.</summary>
    /// <exception cref="NotInLanguageException">The pattern ends.</exception>
    public char Next() => AtEnd ? throw new NotInLanguageException() : pattern[At++];

    public void Expect(char c)
    {
        if (Next() != c)
        {
            throw new NotInLanguageException();
        }
    }

    /// <summary>Steps past this character; false when something else is there.</summary>
    public bool Skip(char c)
    {
        if (AtEnd || pattern[At] != c)
        {
            return false;
        }

        At++;
        return true;
    }

    /// <summary>Steps past this many characters.</summary>
    /// <exception cref="NotInLanguageException">The pattern ends.</exception>
    public ReadOnlySpan<char> Take(int count)
    {
        if (pattern.Length - At < count)
        {
            throw new NotInLanguageException();
        }

        At += count;
        return pattern.AsSpan(At - count, count);
    }

    /// <summary>What stands before the next <paramref name="c"/>, which is stepped past.</summary>
    /// <exception cref="NotInLanguageException">There is none.</exception>
    public string TakeTo(char c)
    {
        var end = pattern.IndexOf(c, At);
        if (end < 0)
        {
            throw new NotInLanguageException();
        }

        var taken = pattern[At..end];
        At = end + 1;
        return taken;
    }
}

/// <summary>The pattern uses something outside the language of split patterns; .NET's own expressions take it.</summary>
internal sealed class NotInLanguageException : Exception
{
}
