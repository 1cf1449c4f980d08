using System.Text;

namespace Sals.Engine.Text.Answers;

/// <summary><see cref="ToolCallFormat.Hermes"/>.</summary>
internal sealed class HermesParser(AnswerLayout layout) : ToolCallParser(layout)
{
    private readonly MarkMatcher _begin = new(ToolCallMarks.HermesBegin);
    private readonly MarkMatcher _end = new(ToolCallMarks.HermesEnd);
    private readonly StringBuilder _free = new();
    private State _state;

    private enum State
    {
        Text,
        Call,

        /// <summary>Behind a call, before its end mark, which some answers lack.</summary>
        Tail,

        /// <summary>Arguments that are no JSON go on until the end mark.</summary>
        Broken,
    }

    public override void Take(char c, PartList parts)
    {
        _free.Clear();
        switch (_state)
        {
            case State.Text:
                if (_begin.Take(c, _free))
                {
                    Content(_free, parts);
                    BeginCall(ToolCallMarks.HermesBegin, _ => true, onlyKnownKeys: false);
                    _state = State.Call;
                    return;
                }

                Content(_free, parts);
                return;
            case State.Call:
                TakeInCall(c, parts);
                return;
            case State.Tail:
                TakeBehind(c, parts);
                return;
            default:
                var ended = _end.Take(c, _free);
                Broken(_free, parts);
                if (ended)
                {
                    CallEnded();
                    _state = State.Text;
                }

                return;
        }
    }

    protected override void End(PartList parts)
    {
        _free.Clear();
        if (_state == State.Text)
        {
            _begin.Release(_free);
            Content(_free, parts);
        }
        else if (_state == State.Call)
        {
            CutCall(parts);
        }
        else if (_state == State.Broken)
        {
            CallEnded();
        }
    }

    protected override void Follow(CallReader.Step step) => _state = step switch
    {
        CallReader.Step.More => State.Call,
        CallReader.Step.NoCall => State.Text,
        CallReader.Step.Broken => State.Broken,
        _ => State.Tail,
    };

    private void TakeBehind(char c, PartList parts)
    {
        if (_end.Take(c, _free))
        {
            _state = State.Text;
            return;
        }

        var text = _free.ToString();
        for (var i = 0; i < text.Length; i++)
        {
            // a brace too many is the commonest slip
            if (!char.IsWhiteSpace(text[i]) && text[i] != '}')
            {
                _state = State.Text;
                _free.Clear();
                _end.Release(_free);
                foreach (var held in text[i..] + _free)
                {
                    Take(held, parts);
                }

                return;
            }
        }
    }
}
