namespace Sals.Engine.Grammar;

/// <summary>What a token did to a choice that follows a grammar.</summary>
public enum MatchResult
{
    /// <summary>More may follow.</summary>
    Open,

    /// <summary>The text is complete and nothing may follow.</summary>
    Complete,

    /// <summary>The token does not fit, or the grammar is more ambiguous than the limits allow.</summary>
    Failed,
}

/// <summary>
/// Where one choice is in its grammar. Its mask holds for the next token; a state is a function of the tokens alone, so it survives preemption
/// and does not depend on timing. Created anywhere, advanced by the engine's thread.
/// </summary>
public sealed class TokenMatcher
{
    private readonly TokenGrammar _grammar;
    private readonly int[] _stopIds;
    private ByteAutomaton.State _state;

    /// <param name="stopIds">Ids that may end the text where it is complete.</param>
    public TokenMatcher(TokenGrammar grammar, int[] stopIds)
    {
        _grammar = grammar;
        _stopIds = stopIds;
        _state = grammar.Initial;
        Mask = new uint[grammar.MaskWords];
        Update();
    }

    /// <summary>Tokens that may come next [ceil(V / 32)]; overwritten by the next <see cref="Advance"/>.</summary>
    public uint[] Mask { get; }

    /// <summary>The text so far is complete.</summary>
    public bool IsComplete => _state.Accepts;

    /// <summary>Why <see cref="MatchResult.Failed"/>.</summary>
    public string? Failure { get; private set; }

    /// <summary>Takes the next token of the choice, which is no stop token.</summary>
    public MatchResult Advance(int token)
    {
        try
        {
            _state = _grammar.After(_state, token);
            if (_state.IsDead)
            {
                Failure = $"Token {token} does not fit the grammar of the request.";
                return MatchResult.Failed;
            }

            if (!_state.Continues)
            {
                return MatchResult.Complete;
            }

            Update();
            return MatchResult.Open;
        }
        catch (GrammarException exception)
        {
            Failure = $"The grammar of the request cannot be followed here: {exception.Message}.";
            return MatchResult.Failed;
        }
    }

    private void Update()
    {
        _grammar.MaskOf(_state).CopyTo(Mask);
        if (_state.Accepts)
        {
            foreach (var id in _stopIds)
            {
                Mask[id >> 5] |= 1u << id;
            }
        }
    }
}
