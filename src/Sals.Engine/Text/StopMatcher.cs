using System.Text;

namespace Sals.Engine.Text;

/// <summary>
/// Finds stop strings in text that arrives in pieces, and holds back what may be the beginning of one. The stop string whose last character
/// comes first wins (of several that end together, the first in the list), so the outcome does not depend on how the text was cut.
/// Work is one step a character and stop string. One owner, not thread-safe.
/// </summary>
public sealed class StopMatcher
{
    private readonly string[] _stops;
    private readonly int[][] _failure;
    private readonly int[] _matched;
    private readonly bool _include;
    private readonly StringBuilder _held = new();
    private long _position;

    /// <param name="stops">Stop strings; empty ones are ignored.</param>
    /// <param name="includeStopString">The text given out ends with the stop string instead of before it.</param>
    public StopMatcher(IEnumerable<string> stops, bool includeStopString)
    {
        _stops = [.. stops.Where(stop => stop.Length > 0)];
        _failure = [.. _stops.Select(Failure)];
        _matched = new int[_stops.Length];
        _include = includeStopString;
    }

    /// <summary>The stop string that was met; null as long as none was.</summary>
    public string? Matched { get; private set; }

    /// <summary>Where <see cref="Matched"/> starts, in UTF-16 code units of the whole text; -1 while there is none.</summary>
    public long MatchStart { get; private set; } = -1;

    /// <summary>Code units held back at the moment.</summary>
    public int HeldLength => _held.Length;

    /// <summary>
    /// Takes the next piece and gives out text that no stop string can claim any more. After a match nothing more is given out.
    /// </summary>
    /// <param name="text">The next piece.</param>
    /// <param name="mayStop">False (before min_tokens): the text passes, and no stop string may begin in it or before.</param>
    public string Append(string text, bool mayStop = true)
    {
        if (Matched is not null)
        {
            return "";
        }

        if (_stops.Length == 0 || !mayStop)
        {
            _position += text.Length;
            Array.Clear(_matched);
            return _held.Length == 0 ? text : Take(text);
        }

        for (var i = 0; i < text.Length; i++)
        {
            var stop = Step(text[i]);
            if (stop >= 0)
            {
                return Match(stop, text.AsSpan(0, i + 1));
            }
        }

        _position += text.Length;
        var waiting = _matched.Max();
        if (waiting == 0)
        {
            return _held.Length == 0 ? text : Take(text);
        }

        _held.Append(text);
        var free = _held.ToString(0, _held.Length - waiting);
        _held.Remove(0, free.Length);
        return free;
    }

    /// <summary>The end of the text: what was held back is given out.</summary>
    public string Flush()
    {
        Array.Clear(_matched);
        return Take("");
    }

    /// <summary>Knuth-Morris-Pratt: length of the longest border of each prefix.</summary>
    private static int[] Failure(string stop)
    {
        var failure = new int[stop.Length];
        for (int i = 1, border = 0; i < stop.Length; i++)
        {
            while (border > 0 && stop[i] != stop[border])
            {
                border = failure[border - 1];
            }

            failure[i] = stop[i] == stop[border] ? ++border : border;
        }

        return failure;
    }

    private int Step(char c)
    {
        var found = -1;
        for (var s = 0; s < _stops.Length; s++)
        {
            var stop = _stops[s];
            var matched = _matched[s];
            while (matched > 0 && stop[matched] != c)
            {
                matched = _failure[s][matched - 1];
            }

            matched += stop[matched] == c ? 1 : 0;
            if (matched == stop.Length)
            {
                found = found < 0 ? s : found;
                matched = _failure[s][matched - 1];
            }

            _matched[s] = matched;
        }

        return found;
    }

    private string Match(int stop, ReadOnlySpan<char> text)
    {
        Matched = _stops[stop];
        MatchStart = _position + text.Length - Matched.Length;
        _held.Append(text);
        var given = _held.ToString(0, _include ? _held.Length : _held.Length - Matched.Length);
        _held.Clear();
        return given;
    }

    private string Take(string text)
    {
        var taken = _held.Append(text).ToString();
        _held.Clear();
        return taken;
    }
}
