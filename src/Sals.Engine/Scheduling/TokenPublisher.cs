using Sals.Engine.Grammar;

namespace Sals.Engine.Scheduling;

/// <summary>
/// Turns accepted outputs into token events and decides whether a choice ends with one; keeps the request's trace and the token counters.
/// Writing to a handle never blocks.
/// </summary>
public sealed class TokenPublisher
{
    private readonly EngineStats _stats;
    private readonly TimeProvider _time;

    public TokenPublisher(EngineStats stats, TimeProvider time)
    {
        _stats = stats;
        _time = time;
    }

    /// <summary>A prompt leaves the queue.</summary>
    public void Started(Prefill prefill, bool looked)
    {
        var trace = prefill.Generation.Handle.Trace;
        var first = prefill.Sequences[0].FirstHit < 0;
        if (trace.Started == 0)
        {
            trace.Started = _time.GetTimestamp();
            trace.CachedTokens = prefill.HistoryLength;
        }

        if (first)
        {
            foreach (var sequence in prefill.Sequences)
            {
                sequence.FirstHit = prefill.HistoryLength;
            }

            _stats.PromptTokens += prefill.PromptLength;
            _stats.CachedPromptTokens += prefill.HistoryLength;
            _stats.PrefixQueries += looked ? prefill.PromptLength : 0;
            _stats.PrefixHits += prefill.HistoryLength;
        }
        else
        {
            _stats.RecomputedTokens += prefill.PromptLength - prefill.HistoryLength;
        }
    }

    /// <summary>Publishes output number <paramref name="output"/> of a sequence; says whether it ends the choice.</summary>
    public FinishReason Token(Sequence sequence, int output, StepResult result, int row)
    {
        var request = sequence.Generation.Request;
        var forced = sequence.ForcedOutput(output);
        var token = forced >= 0 ? forced : result.Tokens[row];
        var stop = forced < 0 && Array.IndexOf(request.StopTokenIds, token) >= 0 && output >= request.Sampling.MinTokens;
        var match = stop ? MatchResult.Complete : sequence.Matcher?.Advance(token) ?? MatchResult.Open;
        if (match == MatchResult.Failed)
        {
            End(sequence, FinishReason.Error, sequence.Matcher!.Failure);
            return FinishReason.Error;
        }

        var reason = match == MatchResult.Complete ? FinishReason.Stop : output + 1 >= request.MaxTokens ? FinishReason.Length : FinishReason.None;
        sequence.Tokens.Add(token);

        var trace = sequence.Generation.Handle.Trace;
        var now = _time.GetTimestamp();
        trace.FirstToken = trace.FirstToken == 0 ? now : trace.FirstToken;
        trace.LastToken = now;
        trace.GeneratedTokens++;
        if (output > 0)
        {
            trace.DecodedTokens++;
            trace.SparseTokens += result.SparseLayers[row] > 0 ? 1 : 0;
            trace.SparseLayerTokens += result.SparseLayers[row];
            trace.ScoredLayerTokens += result.ScoredLayers[row];
            trace.SelectedTokens += result.SelectedTokens[row];
        }

        // forced tokens are a text that is scored, not output
        _stats.GeneratedTokens += forced < 0 ? 1 : 0;

        var wanted = sequence.Sampling.LogProbabilities;
        Write(sequence, new TokenEvent
        {
            Choice = sequence.Choice,
            Token = token,
            Finish = reason,
            StopToken = stop ? token : -1,
            LogProbability = forced >= 0 ? result.TargetLogProbabilities[row] : wanted >= 0 ? result.LogProbabilities[row] : 0,
            Top = wanted > 0 ? ReadTop(result, row, wanted) : null,
        });
        return reason;
    }

    /// <summary>Ends a choice without a token.</summary>
    public void End(Sequence sequence, FinishReason reason, string? message) =>
        Write(sequence, new TokenEvent { Choice = sequence.Choice, Token = -1, StopToken = -1, Finish = reason, Error = message });

    private void Write(Sequence sequence, TokenEvent token)
    {
        var handle = sequence.Generation.Handle;
        if (token.Finish != FinishReason.None && sequence.Pages is { } pages)
        {
            handle.Trace.CacheTokens += sequence.Length;
            handle.Trace.CachePages += pages.Counts;
        }

        if (token.Finish != FinishReason.None && --sequence.Generation.Unfinished == 0)
        {
            handle.Trace.Finished = _time.GetTimestamp();
            handle.Writer.TryWrite(token);
            handle.Writer.TryComplete();
            return;
        }

        handle.Writer.TryWrite(token);
    }

    private static TokenLogProbability[] ReadTop(StepResult result, int row, int count)
    {
        var top = new TokenLogProbability[count];
        for (var i = 0; i < count; i++)
        {
            var at = row * StepResult.MaxTop + i;
            top[i] = new TokenLogProbability(result.TopIds[at], result.TopLogProbabilities[at]);
        }

        return top;
    }
}
