using System.Text;

namespace Sals.Engine.Text.Answers;

/// <summary><see cref="ToolCallFormat.Mistral"/> and <see cref="ToolCallFormat.MistralArguments"/>: an answer shows which one it is in.</summary>
internal sealed class MistralParser(AnswerLayout layout) : ToolCallParser(layout)
{
    private readonly MarkMatcher _mark = new(ToolCallMarks.Mistral);
    private readonly StringBuilder _free = new();

    /// <summary>From the mark to where the call itself begins.</summary>
    private readonly StringBuilder _raw = new();
    private bool _list;
    private State _state;
    private int _nameAt;

    private enum State
    {
        Text,
        Marked,
        Name,
        Call,

        /// <summary>In a list, behind a call.</summary>
        Between,

        /// <summary>Arguments that are no JSON go on until another mark.</summary>
        Broken,
    }

    public override void Take(char c, PartList parts)
    {
        _free.Clear();
        switch (_state)
        {
            case State.Text:
                var begins = _mark.Take(c, _free);
                Content(_free, parts);
                if (begins)
                {
                    _state = State.Marked;
                    _list = false;
                    _raw.Clear().Append(ToolCallMarks.Mistral);
                }

                return;
            case State.Marked:
                TakeMarked(c, parts);
                return;
            case State.Name:
                TakeInName(c, parts);
                return;
            case State.Call:
                TakeInCall(c, parts);
                return;
            case State.Between:
                TakeBetween(c, parts);
                return;
            default:
                var ends = _mark.Take(c, _free);
                Broken(_free, parts);
                if (ends)
                {
                    CallEnded();
                    _state = State.Marked;
                    _list = false;
                    _raw.Clear().Append(ToolCallMarks.Mistral);
                }

                return;
        }
    }

    protected override void End(PartList parts)
    {
        _free.Clear();
        if (_state == State.Text)
        {
            _mark.Release(_free);
            Content(_free, parts);
        }
        else if (_state is State.Marked or State.Name)
        {
            Content(_raw, parts);
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

    private void TakeMarked(char c, PartList parts)
    {
        if (char.IsWhiteSpace(c))
        {
            _raw.Append(c);
        }
        else if (c == '[' && !_list)
        {
            _list = true;
            _raw.Append(c);
        }
        else if (c == '{')
        {
            BeginCall(_raw.ToString(), _ => true, onlyKnownKeys: false);
            _state = State.Call;
            TakeInCall(c, parts);
        }
        else if (!_list && IsName(c))
        {
            _state = State.Name;
            _nameAt = _raw.Length;
            TakeInName(c, parts);
        }
        else
        {
            NoCall(c, parts);
        }
    }

    /// <summary>A name, perhaps [CALL_ID] and an id, then [ARGS] or the arguments themselves.</summary>
    private void TakeInName(char c, PartList parts)
    {
        if (c == '{')
        {
            var text = _raw.ToString(_nameAt, _raw.Length - _nameAt);
            var name = text.Split('[')[0];
            var rest = text[name.Length..];
            if (rest.Length == 0 || rest == ToolCallMarks.MistralArguments
                || (rest.StartsWith(ToolCallMarks.MistralId, StringComparison.Ordinal) && rest.EndsWith(ToolCallMarks.MistralArguments, StringComparison.Ordinal)))
            {
                BeginCall(_raw.ToString(), name);
                _state = State.Call;
                TakeInCall(c, parts);
                return;
            }
        }

        if (!(IsName(c) || c is '[' or ']') || _raw.Length - _nameAt > 2 * CallReader.MaxName)
        {
            NoCall(c, parts);
            return;
        }

        _raw.Append(c);
    }

    protected override void Follow(CallReader.Step step) => _state = step switch
    {
        CallReader.Step.More => State.Call,
        CallReader.Step.NoCall => State.Text,
        CallReader.Step.Broken => State.Broken,
        _ => _list ? State.Between : State.Text,
    };

    private void TakeBetween(char c, PartList parts)
    {
        if (c == ',')
        {
            _state = State.Marked;
            _raw.Clear().Append(c);
        }
        else if (c == ']')
        {
            _state = State.Text;
        }
        else if (!char.IsWhiteSpace(c))
        {
            _state = State.Text;
            Take(c, parts);
        }
    }

    private void NoCall(char c, PartList parts)
    {
        Content(_raw, parts);
        _state = State.Text;
        Take(c, parts);
    }

    private static bool IsName(char c) => char.IsAsciiLetterOrDigit(c) || c is '_' or '-' or '.';
}
