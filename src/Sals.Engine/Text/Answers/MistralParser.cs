using System.Text;

namespace Sals.Engine.Text.Answers;

/// <summary><see cref="ToolCallFormat.Mistral"/> and <see cref="ToolCallFormat.MistralArguments"/>: an answer shows which one it is in.</summary>
internal sealed class MistralParser(AnswerLayout layout) : ToolCallParser(layout)
{
    private readonly MarkMatcher _mark = new(ToolCallMarks.Mistral);
    private readonly StringBuilder _free = new();

    /// <summary>Since the mark, as long as nothing has been given out.</summary>
    private readonly StringBuilder _raw = new();
    private CallReader? _call;
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
        else if (_state is State.Marked or State.Name || (_state == State.Call && !_call!.Announced))
        {
            Content(_raw, parts);
        }
        else if (_state is State.Call or State.Broken)
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
            _call = NewReader(_ => true, onlyKnownKeys: false);
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
                _call = NewReader(name);
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

    private void TakeInCall(char c, PartList parts)
    {
        var step = _call!.Take(c, parts);
        if (_call.Announced)
        {
            DropBlanks();
        }
        else if (step == CallReader.Step.More)
        {
            _raw.Append(c);
        }

        switch (step)
        {
            case CallReader.Step.Done:
                CallEnded();
                _raw.Clear();
                _state = _list ? State.Between : State.Text;
                break;
            case CallReader.Step.Before:
                CallEnded();
                _raw.Clear();
                _state = _list ? State.Between : State.Text;
                Take(c, parts);
                break;
            case CallReader.Step.NoCall:
                NoCall(c, parts);
                break;
            case CallReader.Step.Broken:
                _state = State.Broken;
                Take(c, parts);
                break;
        }
    }

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
        _raw.Clear();
        _state = State.Text;
        Take(c, parts);
    }

    private static bool IsName(char c) => char.IsAsciiLetterOrDigit(c) || c is '_' or '-' or '.';
}
