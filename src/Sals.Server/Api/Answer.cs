using System.Text;
using Sals.Engine;
using Sals.Server.Api.Wire;

namespace Sals.Server.Api;

/// <summary>A choice put together from its pieces.</summary>
public sealed class Answer
{
    private readonly StringBuilder _text = new();

    public string Text => _text.ToString();

    public List<AnswerToken> Tokens { get; } = [];

    public List<int> TokenIds { get; } = [];

    public FinishReason Finish { get; private set; }

    public StopReason StopReason { get; private set; }

    public void Add(in Piece piece)
    {
        _text.Append(piece.Text);
        Tokens.AddRange(piece.Tokens);
        TokenIds.AddRange(piece.TokenIds);
        Finish = piece.Finish;
        StopReason = piece.StopReason;
    }
}
