using System.Text;

namespace Sals.Engine.Text.Answers;

/// <summary><see cref="ToolCallFormat.Llama"/>.</summary>
internal sealed class LlamaParser(AnswerLayout layout) : ToolCallParser(layout)
{
    private readonly MarkMatcher _tag = new(ToolCallMarks.Llama);
    private readonly StringBuilder _free = new();
    private State _state;

    private enum State
    {
        /// <summary>Only blanks so far: a brace would begin a call.</summary>
        Start,
        Text,
        Call,

        /// <summary>Behind a call: a semicolon announces another.</summary>
        Between,

        /// <summary>Arguments that are no JSON go on to the end.</summary>
        Broken,
    }

    public override void Take(char c, PartList parts)
    {
        _free.Clear();
        switch (_state)
        {
            case State.Start when c == '{' && _tag.Held == 0:
                Begin("");
                TakeInCall(c, parts);
                return;
            case State.Start or State.Text:
                if (_tag.Take(c, _free))
                {
                    Content(_free, parts);
                    Begin("");
                    return;
                }

                Content(_free, parts);
                _state = _tag.Held == 0 && !char.IsWhiteSpace(c) ? State.Text : _state;
                return;
            case State.Call:
                TakeInCall(c, parts);
                return;
            case State.Between when char.IsWhiteSpace(c):
                return;
            case State.Between when c == ';':
                Begin(";");
                return;
            case State.Between:
                _state = State.Text;
                Take(c, parts);
                return;
            default:
                Broken(_free.Append(c), parts);
                return;
        }
    }

    protected override void End(PartList parts)
    {
        _free.Clear();
        if (_state is State.Start or State.Text)
        {
            _tag.Release(_free);
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

    /// <param name="before">Text that belongs to the answer if this is no call.</param>
    private void Begin(string before)
    {
        BeginCall(before, Layout.ToolNames.Contains, onlyKnownKeys: true);
        _state = State.Call;
    }

    protected override void Follow(CallReader.Step step) => _state = step switch
    {
        CallReader.Step.More => State.Call,
        CallReader.Step.NoCall => State.Text,
        CallReader.Step.Broken => State.Broken,
        _ => State.Between,
    };
}
