namespace Sals.Engine.Text.Answers;

/// <summary>Follows one JSON value character by character, so that its end is known when it comes. Strict grammar, bounded depth, nothing kept.</summary>
internal sealed class JsonScan
{
    private const int MaxDepth = 256;

    // of objects (true) and lists that are open
    private readonly Stack<bool> _open = new();
    private At _at = At.Value;
    private string _word = "";
    private int _matched;
    private bool _key;

    private enum At
    {
        Value,
        FirstItem,
        FirstKey,
        Key,
        Colon,
        After,
        String,
        Escape,
        Hex,
        Word,
        Minus,
        Zero,
        Digits,
        Point,
        Fraction,
        Exponent,
        ExponentSign,
        ExponentDigits,
        Done,
    }

    public enum Step
    {
        /// <summary>The character belongs to the value, which goes on.</summary>
        More,

        /// <summary>The character is the value's last.</summary>
        Last,

        /// <summary>The value, a number, ended before this character.</summary>
        Before,

        /// <summary>No JSON value has this character here.</summary>
        Wrong,
    }

    public Step Take(char c)
    {
        switch (_at)
        {
            case At.String:
                return TakeInString(c);
            case At.Escape:
                (_at, _matched) = c == 'u' ? (At.Hex, 0) : (At.String, 0);
                return "\"\\/bfnrtu".Contains(c) ? Step.More : Step.Wrong;
            case At.Hex:
                _at = ++_matched == 4 ? At.String : At.Hex;
                return char.IsAsciiHexDigit(c) ? Step.More : Step.Wrong;
            case At.Word:
                return c != _word[_matched++] ? Step.Wrong : _matched == _word.Length ? End() : Step.More;
            case >= At.Minus and <= At.ExponentDigits:
                return TakeInNumber(c);
        }

        if (c is ' ' or '\t' or '\r' or '\n')
        {
            return Step.More;
        }

        return (_at, c) switch
        {
            (At.FirstKey, '}') or (At.FirstItem, ']') => Close(),
            (At.After, ',') => Then(_open.Peek() ? At.Key : At.Value),
            (At.After, '}') when _open.Peek() => Close(),
            (At.After, ']') when !_open.Peek() => Close(),
            (At.Colon, ':') => Then(At.Value),
            (At.Key or At.FirstKey, '"') => Then(At.String, key: true),
            (At.Value or At.FirstItem, _) => Begin(c),
            _ => Step.Wrong,
        };
    }

    private Step Begin(char c) => c switch
    {
        '"' => Then(At.String),
        '{' => Open(isObject: true),
        '[' => Open(isObject: false),
        '-' => Then(At.Minus),
        '0' => Then(At.Zero),
        >= '1' and <= '9' => Then(At.Digits),
        't' => Spell("true"),
        'f' => Spell("false"),
        'n' => Spell("null"),
        _ => Step.Wrong,
    };

    private Step TakeInString(char c)
    {
        if (c == '"')
        {
            return _key ? Then(At.Colon) : End();
        }

        _at = c == '\\' ? At.Escape : At.String;
        return c < ' ' ? Step.Wrong : Step.More;
    }

    private Step TakeInNumber(char c)
    {
        var digit = char.IsAsciiDigit(c);
        At? next = (_at, c) switch
        {
            (At.Minus, '0') => At.Zero,
            (At.Minus or At.Digits, _) when digit => At.Digits,
            (At.Zero or At.Digits, '.') => At.Point,
            (At.Point or At.Fraction, _) when digit => At.Fraction,
            (At.Zero or At.Digits or At.Fraction, 'e' or 'E') => At.Exponent,
            (At.Exponent, '+' or '-') => At.ExponentSign,
            (At.Exponent or At.ExponentSign or At.ExponentDigits, _) when digit => At.ExponentDigits,
            _ => null,
        };
        if (next is { } at)
        {
            return Then(at);
        }

        if (_at is not (At.Zero or At.Digits or At.Fraction or At.ExponentDigits))
        {
            return Step.Wrong;
        }

        return End() == Step.Last ? Step.Before : Take(c);
    }

    private Step Then(At at, bool key = false)
    {
        _at = at;
        _key = key;
        return Step.More;
    }

    private Step Spell(string word)
    {
        (_word, _matched) = (word, 1);
        return Then(At.Word);
    }

    private Step Open(bool isObject)
    {
        if (_open.Count == MaxDepth)
        {
            return Step.Wrong;
        }

        _open.Push(isObject);
        return Then(isObject ? At.FirstKey : At.FirstItem);
    }

    private Step Close()
    {
        _open.Pop();
        return End();
    }

    private Step End()
    {
        _at = _open.Count > 0 ? At.After : At.Done;
        _key = false;
        return _open.Count > 0 ? Step.More : Step.Last;
    }
}
