using System.Text;

namespace Sals.Engine.Text.Answers;

/// <summary>
/// The text of an answer to its parts, as it arrives: reasoning, content, tool calls. The parts are the same however the text is cut, so whole and streamed answers agree.
/// One owner, not thread-safe.
/// </summary>
public sealed class AnswerParser
{
    private readonly ReasoningSplitter _reasoning;
    private readonly ToolCallParser? _calls;
    private readonly PartList _parts = new();
    private readonly StringBuilder _rest = new();

    public AnswerParser(AnswerLayout layout)
    {
        _reasoning = new ReasoningSplitter(layout.Reasoning);
        _calls = ToolCallParser.For(layout);
    }

    /// <summary>The answer is still reasoning.</summary>
    public bool InReasoning => _reasoning.Inside;

    /// <summary>Takes the next piece of text and gives what is certain now.</summary>
    public AnswerPart[] Append(string text)
    {
        foreach (var c in text)
        {
            _rest.Clear();
            _reasoning.Take(c, _parts, _rest);
            TakeRest();
        }

        return _parts.Take();
    }

    /// <summary>The end of the text: gives what was held back.</summary>
    public AnswerPart[] Finish()
    {
        _rest.Clear();
        _reasoning.Finish(_parts, _rest);
        TakeRest();
        _calls?.Finish(_parts);
        return _parts.Take();
    }

    private void TakeRest()
    {
        for (var i = 0; i < _rest.Length; i++)
        {
            if (_calls is null)
            {
                _parts.Add(AnswerPartKind.Content, _rest[i]);
            }
            else
            {
                _calls.Take(_rest[i], _parts);
            }
        }
    }
}
