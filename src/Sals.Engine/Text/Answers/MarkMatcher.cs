using System.Text;

namespace Sals.Engine.Text.Answers;

/// <summary>Finds one mark in text that comes by characters; what may be its beginning is held back.</summary>
internal sealed class MarkMatcher
{
    private readonly string _mark;
    private int _matched;

    public MarkMatcher(string mark) => _mark = mark;

    /// <summary>Characters of the mark that the text ends with.</summary>
    public int Held => _matched;

    /// <summary>Takes a character.</summary>
    /// <param name="free">Gets text that cannot be part of the mark any more.</param>
    /// <returns>The mark is complete; nothing is held then.</returns>
    public bool Take(char c, StringBuilder free)
    {
        while (true)
        {
            if (_mark[_matched] == c)
            {
                if (++_matched < _mark.Length)
                {
                    return false;
                }

                _matched = 0;
                return true;
            }

            if (_matched == 0)
            {
                free.Append(c);
                return false;
            }

            // marks are short: the longest shorter beginning that still fits
            var shorter = _matched - 1;
            while (shorter > 0 && !_mark.AsSpan(_matched - shorter, shorter).SequenceEqual(_mark.AsSpan(0, shorter)))
            {
                shorter--;
            }

            free.Append(_mark, 0, _matched - shorter);
            _matched = shorter;
        }
    }

    /// <summary>Gives up what is held: the text has ended, or the mark no longer matters.</summary>
    public void Release(StringBuilder free)
    {
        free.Append(_mark, 0, _matched);
        _matched = 0;
    }
}
