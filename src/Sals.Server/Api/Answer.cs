using System.Text;
using Sals.Engine;
using Sals.Engine.Text.Answers;
using Sals.Server.Api.Wire;

namespace Sals.Server.Api;

/// <summary>A choice put together from its pieces.</summary>
public sealed class Answer
{
    private readonly bool _ordered;
    private readonly StringBuilder _text = new();
    private readonly StringBuilder _reasoning = new();
    private readonly List<(string Name, StringBuilder Arguments)> _calls = [];

    /// <param name="ordered">Keep the pieces.</param>
    public Answer(bool ordered = false) => _ordered = ordered;

    /// <summary>Content; all of the text when nothing else is looked for.</summary>
    public string Text => _text.ToString();

    public string Reasoning => _reasoning.ToString();

    /// <summary>Name and arguments of each call.</summary>
    public IEnumerable<(string Name, string Arguments)> Calls => _calls.Select(call => (call.Name, call.Arguments.ToString()));

    /// <summary>As they came, for an answer whose order matters; else empty.</summary>
    public List<Piece> Pieces { get; } = [];

    public List<AnswerToken> Tokens { get; } = [];

    public List<int> TokenIds { get; } = [];

    public FinishReason Finish { get; private set; }

    public StopReason StopReason { get; private set; }

    public void Add(in Piece piece)
    {
        if (_ordered)
        {
            Pieces.Add(piece);
        }

        if (piece.Parts is null)
        {
            _text.Append(piece.Text);
        }

        foreach (var part in piece.Parts ?? [])
        {
            switch (part.Kind)
            {
                case AnswerPartKind.Content:
                    _text.Append(part.Text);
                    break;
                case AnswerPartKind.Reasoning:
                    _reasoning.Append(part.Text);
                    break;
                case AnswerPartKind.Call:
                    _calls.Add((part.Text, new StringBuilder()));
                    break;
                default:
                    _calls[part.Index].Arguments.Append(part.Text);
                    break;
            }
        }

        Tokens.AddRange(piece.Tokens);
        TokenIds.AddRange(piece.TokenIds);
        Finish = piece.Finish;
        StopReason = piece.StopReason;
    }
}
