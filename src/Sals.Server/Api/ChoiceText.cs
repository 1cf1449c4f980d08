using Sals.Engine;
using Sals.Engine.Text;
using Sals.Engine.Text.Answers;
using Sals.Server.Api.Wire;

namespace Sals.Server.Api;

/// <summary>A token that is part of an answer, with what log-probabilities need.</summary>
/// <param name="Offset">UTF-16 code units of the choice's text before it.</param>
public readonly record struct AnswerToken(int Id, float LogProbability, TokenLogProbability[]? Top, int Offset);

/// <summary>What one token event adds to an answer.</summary>
/// <param name="Choice">Index over all prompts of the request.</param>
/// <param name="Text">Never ends inside a character, nor in what may become a stop string.</param>
/// <param name="Parts">What the text has become certain to be; null when all of it is content as it is.</param>
/// <param name="Tokens">Tokens whose text has been given out, when log-probabilities were asked for.</param>
/// <param name="TokenIds">Ids generated, end token included.</param>
/// <param name="Finish">Not None on the last piece of a choice.</param>
public readonly record struct Piece(
    int Choice, string Text, IReadOnlyList<AnswerPart>? Parts, IReadOnlyList<AnswerToken> Tokens, IReadOnlyList<int> TokenIds, FinishReason Finish, StopReason StopReason)
{
    public bool IsEmpty => (Parts?.Count ?? Text.Length) == 0 && Tokens.Count == 0 && TokenIds.Count == 0 && Finish == FinishReason.None;
}

/// <summary>
/// One choice on its way from ids to text: detokenises, finds stop strings, keeps tokens back as long as their text is. The pieces it gives
/// out make the same answer however they are cut, so streamed and whole answers agree. One owner.
/// </summary>
public sealed class ChoiceText
{
    private readonly int _choice;
    private readonly bool _wantsTokens;
    private readonly bool _wantsIds;
    private readonly bool _includeStop;
    private readonly int _minTokens;
    private readonly HashSet<int> _ownStopIds;
    private readonly Detokenizer? _detokenizer;
    private readonly StopMatcher _stops;
    private readonly AnswerParser? _parser;
    private readonly Queue<AnswerToken> _held = [];
    private int _decoded;

    /// <param name="tokenizer">Null: ids only, no text.</param>
    /// <param name="ownStopIds">Stop ids of the request, which are reported as stop_reason; the model's end tokens are not.</param>
    public ChoiceText(int choice, Tokenizer? tokenizer, AnswerForm form, int minTokens, HashSet<int> ownStopIds)
    {
        _choice = choice;
        _wantsTokens = form.LogProbabilities >= 0;
        _wantsIds = form.ReturnTokenIds;
        _includeStop = form.IncludeStop;
        _minTokens = minTokens;
        _ownStopIds = ownStopIds;
        HashSet<int> marks = [.. tokenizer is null ? [] : form.Layout.Marks.Select(tokenizer.TokenId).OfType<int>()];
        _detokenizer = tokenizer is null ? null : new Detokenizer(tokenizer, form.SkipSpecialTokens, kept: marks);
        _parser = form.Layout.IsPlain ? null : new AnswerParser(form.Layout);
        _stops = new StopMatcher(form.Stop, form.IncludeStop);
    }

    /// <summary>Tokens generated until the choice ended, end token included.</summary>
    public int Count { get; private set; }

    /// <summary>Of them, those that came before the end of reasoning.</summary>
    public int ReasoningCount { get; private set; }

    public FinishReason Finish { get; private set; }

    /// <summary>A stop string was found: the engine does not know yet.</summary>
    public bool StopStringFound => _stops.Matched is not null;

    /// <summary>Takes the next event of this choice. Events after the end add nothing.</summary>
    public Piece Append(in TokenEvent token)
    {
        if (Finish != FinishReason.None)
        {
            return new Piece(_choice, "", null, [], [], FinishReason.None, default);
        }

        var text = "";
        IReadOnlyList<int> ids = [];
        if (token.Token >= 0)
        {
            Count++;
            ids = _wantsIds ? [token.Token] : ids;
            if (token.StopToken < 0 || _includeStop)
            {
                text = Decode(token);
            }
        }

        Finish = StopStringFound ? FinishReason.Stop : token.Finish;
        if (Finish != FinishReason.None && !StopStringFound)
        {
            text += _stops.Append(_detokenizer?.Flush() ?? "", mayStop: Count > _minTokens);
            Finish = StopStringFound ? FinishReason.Stop : Finish;
            text += StopStringFound ? "" : _stops.Flush();
        }

        return new Piece(_choice, text, Divide(text), Release(), ids, Finish, Reason(token));
    }

    private AnswerPart[]? Divide(string text)
    {
        if (_parser is null)
        {
            return null;
        }

        ReasoningCount += _parser.InReasoning ? 1 : 0;
        var parts = _parser.Append(text);
        return Finish == FinishReason.None ? parts : [.. parts, .. _parser.Finish()];
    }

    private string Decode(in TokenEvent token)
    {
        if (_wantsTokens)
        {
            _held.Enqueue(new AnswerToken(token.Token, token.LogProbability, token.Top, _decoded));
        }

        var decoded = _detokenizer?.Append(token.Token) ?? "";
        _decoded += decoded.Length;
        return _stops.Append(decoded, mayStop: Count > _minTokens);
    }

    /// <summary>Tokens whose text has begun to be given out; after a stop string none that begins in it.</summary>
    private AnswerToken[] Release()
    {
        if (_held.Count == 0)
        {
            return [];
        }

        var end = StopStringFound && !_includeStop ? _stops.MatchStart
            : _stops.HeldLength > 0 && Finish == FinishReason.None ? _decoded - _stops.HeldLength
            : long.MaxValue;
        List<AnswerToken> released = [];
        while (_held.TryPeek(out var next) && next.Offset < end)
        {
            released.Add(_held.Dequeue());
        }

        return [.. released];
    }

    private StopReason Reason(in TokenEvent token) =>
        Finish != FinishReason.Stop ? default
        : StopStringFound ? new StopReason(_stops.Matched, null)
        : _ownStopIds.Contains(token.StopToken) ? new StopReason(null, token.StopToken)
        : default;
}
