using System.Text;

namespace Sals.Engine.Text.Answers;

/// <summary>Collects parts character by character; neighbours of one kind are one part.</summary>
internal sealed class PartList
{
    private readonly List<AnswerPart> _parts = [];
    private readonly StringBuilder _text = new();
    private AnswerPartKind _kind;
    private int _index;

    public void Add(AnswerPartKind kind, char c, int index = 0)
    {
        Turn(kind, index);
        _text.Append(c);
    }

    public void Add(AnswerPartKind kind, StringBuilder text, int index = 0)
    {
        if (text.Length > 0)
        {
            Turn(kind, index);
            _text.Append(text);
        }
    }

    public void Add(AnswerPartKind kind, string text, int index = 0)
    {
        if (text.Length > 0)
        {
            Turn(kind, index);
            _text.Append(text);
        }
    }

    public AnswerPart[] Take()
    {
        Close();
        AnswerPart[] parts = [.. _parts];
        _parts.Clear();
        return parts;
    }

    private void Turn(AnswerPartKind kind, int index)
    {
        if (_kind != kind || _index != index)
        {
            Close();
            (_kind, _index) = (kind, index);
        }
    }

    private void Close()
    {
        if (_text.Length > 0)
        {
            _parts.Add(new AnswerPart(_kind, _text.ToString(), _index));
            _text.Clear();
        }
    }
}
