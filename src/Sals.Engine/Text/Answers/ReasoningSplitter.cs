using System.Text;

namespace Sals.Engine.Text.Answers;

/// <summary>Divides an answer into reasoning and the rest, character by character. Line breaks around the marks belong to neither.</summary>
internal sealed class ReasoningSplitter
{
    private readonly MarkMatcher _begin = new(ReasoningMarks.Begin);
    private readonly MarkMatcher _end = new(ReasoningMarks.End);
    private readonly StringBuilder _free = new();
    private readonly StringBuilder _blanks = new();
    private State _state;
    private int _separators;
    private bool _started;

    public ReasoningSplitter(ReasoningStart start) => _state = start switch
    {
        ReasoningStart.Closed => State.Rest,
        ReasoningStart.Optional => State.MayBegin,
        // a model that opens it again although the prompt has
        _ => State.MayRepeat,
    };

    private enum State
    {
        MayBegin,
        MayRepeat,
        Reasoning,
        Separator,
        Rest,
    }

    /// <summary>The answer proper has not begun.</summary>
    public bool Inside => _state is State.MayRepeat or State.Reasoning;

    /// <param name="parts">Gets reasoning.</param>
    /// <param name="rest">Gets what is not reasoning.</param>
    public void Take(char c, PartList parts, StringBuilder rest)
    {
        switch (_state)
        {
            case State.MayBegin or State.MayRepeat:
                TakeAtBegin(c, parts, rest);
                break;
            case State.Reasoning:
                TakeInside(c, parts);
                break;
            case State.Separator when c == '\n' && _separators < ReasoningMarks.Separator.Length:
                _separators++;
                break;
            default:
                _state = State.Rest;
                rest.Append(c);
                break;
        }
    }

    /// <summary>The answer has ended: what was held back is what it looked like so far.</summary>
    public void Finish(PartList parts, StringBuilder rest)
    {
        _free.Clear();
        if (_state == State.MayBegin)
        {
            rest.Append(_blanks);
            _begin.Release(_free);
            rest.Append(_free);
        }
        else if (_state is State.MayRepeat or State.Reasoning)
        {
            (_state == State.MayRepeat ? _begin : _end).Release(_free);
            // blanks at the end mean nothing; those before a half mark do
            if (_free.Length > 0)
            {
                parts.Add(AnswerPartKind.Reasoning, _blanks);
                parts.Add(AnswerPartKind.Reasoning, _free);
            }
        }

        _blanks.Clear();
    }

    private void TakeAtBegin(char c, PartList parts, StringBuilder rest)
    {
        if (_begin.Held == 0 && char.IsWhiteSpace(c))
        {
            _blanks.Append(c);
            return;
        }

        _free.Clear();
        if (_begin.Take(c, _free))
        {
            _blanks.Clear();
            _state = State.Reasoning;
            _started = false;
        }
        else if (_free.Length > 0)
        {
            _begin.Release(_free);
            if (_state == State.MayBegin)
            {
                _state = State.Rest;
                rest.Append(_blanks).Append(_free);
                _blanks.Clear();
                return;
            }

            // reasoning without its mark: the characters may be the beginning of its end
            _state = State.Reasoning;
            _blanks.Clear();
            var text = _free.ToString();
            foreach (var held in text)
            {
                Take(held, parts, rest);
            }
        }
    }

    private void TakeInside(char c, PartList parts)
    {
        _free.Clear();
        var ended = _end.Take(c, _free);
        for (var i = 0; i < _free.Length; i++)
        {
            if (char.IsWhiteSpace(_free[i]))
            {
                _blanks.Append(_free[i]);
                continue;
            }

            parts.Add(AnswerPartKind.Reasoning, _started ? _blanks : _blanks.Clear());
            parts.Add(AnswerPartKind.Reasoning, _free[i]);
            _blanks.Clear();
            _started = true;
        }

        if (ended)
        {
            _blanks.Clear();
            _state = State.Separator;
        }
    }
}
