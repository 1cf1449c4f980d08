using System.Globalization;
using Sals.Engine;
using Sals.Engine.Backends;
using Sals.Engine.Paging;
using Sals.Server.Admission;
using Sals.Server.Hosting;
using Sals.Server.Telemetry;

namespace Sals.Server.Api;

/// <summary>
/// A call that is being generated: its handles, the text of each choice, its place at the gate. Disposing it ends what is unfinished, waits
/// until the engine has let go, gives the place back and writes the request's one log line.
/// </summary>
public sealed class Generation : IAsyncDisposable
{
    /// <summary>How long a disposed request waits for the engine's last event before it is reported without.</summary>
    private static readonly TimeSpan LetGo = TimeSpan.FromSeconds(30);

    private readonly Serving _serving;
    private readonly AdmissionGate.Permit _permit;
    private readonly ILogger _logger;
    private readonly string _requestId;
    private readonly string _route;
    private readonly List<GenerationHandle> _handles = [];
    private readonly ChoiceText[] _choices;
    private readonly long[] _lastToken;
    private readonly Task<bool>?[] _waits;
    private int _unfinished;

    private Generation(Serving serving, Call call, AdmissionGate.Permit permit, ILogger logger, string requestId, string route)
    {
        _serving = serving;
        _permit = permit;
        _logger = logger;
        _requestId = requestId;
        _route = route;
        Call = call;
        var endIds = serving.Model.EndTokenIds;
        _choices = [.. Enumerable.Range(0, call.ChoiceCount).Select(i =>
        {
            var request = call.Requests[i / call.ChoicesPerPrompt];
            HashSet<int> own = [.. request.StopTokenIds.Except(endIds)];
            return new ChoiceText(i, serving.Model.Tokenizer, call.Form, request.Sampling.MinTokens, own);
        })];
        _lastToken = new long[_choices.Length];
        _waits = new Task<bool>?[call.Requests.Length];
        _unfinished = _choices.Length;
    }

    public Call Call { get; }

    /// <summary>Tokens of each prompt with their log-probabilities, when the call asks for them; else null.</summary>
    public AnswerToken[][]? PromptScores { get; private set; }

    /// <summary>One a prompt that was started.</summary>
    public IReadOnlyList<GenerationHandle> Handles => _handles;

    /// <summary>Why the engine ended a choice against its will; null when it did not.</summary>
    public ApiError? Failure { get; private set; }

    /// <summary>Of each choice, in words of the API.</summary>
    public string[] FinishReasons => [.. _choices.Select(choice => choice.Finish == FinishReason.None ? "abort" : SalsMetrics.Name(choice.Finish))];

    /// <summary>True when every choice has ended.</summary>
    public bool Finished => _unfinished == 0;

    public int ReasoningTokens => _choices.Sum(choice => choice.ReasoningCount);

    public int CompletionTokens => _choices.Sum(choice => choice.Count);

    /// <summary>Prompt tokens taken from the prefix cache.</summary>
    public int CachedTokens => _handles.Sum(handle => handle.Trace.CachedTokens);

    /// <summary>Passes the gate and starts the engine on every prompt.</summary>
    /// <exception cref="ApiException">429: no place; 503 when the engine takes no requests.</exception>
    public static async Task<Generation> StartAsync(Serving serving, Call call, ILogger logger, string requestId, string route, CancellationToken cancel)
    {
        if (serving.Gate.TryEnter(call.ChoiceCount, out var retryAfter) is not { } permit)
        {
            serving.Metrics.Rejected();
            throw new ApiException(ApiError.Overloaded(retryAfter, "The server has as many requests as it may hold. Retry later."));
        }

        var generation = new Generation(serving, call, permit, logger, requestId, route);
        try
        {
            if (call.Form.ScoredLogProbabilities >= 0)
            {
                generation.PromptScores = await PromptScoring.RunAsync(serving, call, cancel);
            }

            foreach (var request in call.ScoreOnly ? [] : call.Requests)
            {
                generation._handles.Add(serving.Engine.Start(request));
            }

            return generation;
        }
        catch (EngineNotReadyException exception)
        {
            serving.Metrics.Rejected();
            await generation.DisposeAsync();
            throw new ApiException(ErrorResponse.Map(exception));
        }
        catch
        {
            await generation.DisposeAsync();
            throw;
        }
    }

    /// <summary>Waits until <see cref="TryRead"/> may give something.</summary>
    public async Task WaitAsync(CancellationToken cancel)
    {
        for (var i = 0; i < _handles.Count; i++)
        {
            // a finished stream's task says false and stays, so it must not be waited for again
            _waits[i] ??= _handles[i].Events.WaitToReadAsync(cancel).AsTask();
        }

        if (Call.ScoreOnly)
        {
            return;
        }

        var pending = _waits.Where(wait => wait is { IsCompleted: false } or { IsCompleted: true, Result: true }).ToArray();
        if (pending.Length > 0)
        {
            await await Task.WhenAny(pending!);
        }
        else if (!Finished)
        {
            throw new InvalidOperationException("the engine ended a stream without a finishing event");
        }
    }

    /// <summary>The next piece that is there already.</summary>
    /// <exception cref="ApiException">The engine failed, or gave the request up because the server stops.</exception>
    public bool TryRead(out Piece piece)
    {
        for (var i = 0; i < _handles.Count; i++)
        {
            while (_handles[i].Events.TryRead(out var token))
            {
                piece = Take(i, token);
                if (!piece.IsEmpty)
                {
                    return true;
                }
            }

            if (_waits[i] is { IsCompletedSuccessfully: true, Result: true })
            {
                _waits[i] = null;
            }
        }

        if (Call.ScoreOnly && !Finished)
        {
            var next = Array.FindIndex(_choices, choice => choice.Finish == FinishReason.None);
            var end = new TokenEvent { Choice = next % Call.ChoicesPerPrompt, Token = -1, StopToken = -1, Finish = FinishReason.Length };
            piece = Take(next / Call.ChoicesPerPrompt, end);
            return true;
        }

        piece = default;
        return false;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var handle in _handles)
        {
            await handle.DisposeAsync();
        }

        using var limit = new CancellationTokenSource(LetGo, _serving.Time);
        foreach (var handle in _handles)
        {
            try
            {
                await foreach (var late in handle.Events.ReadAllAsync(limit.Token))
                {
                    // ended choices only; what else comes after the end of an answer belongs to nobody
                    _ = late;
                }
            }
            catch (OperationCanceledException)
            {
                break;
            }
        }

        Report();
        _permit.Dispose();
    }

    private Piece Take(int prompt, in TokenEvent token)
    {
        var index = (prompt * Call.ChoicesPerPrompt) + token.Choice;
        var choice = _choices[index];
        var before = choice.Finish;
        if (before == FinishReason.None && token.Finish is FinishReason.Error or FinishReason.Abort && !choice.StopStringFound)
        {
            var exception = FailureOf(token);
            Failure = exception.Error;
            throw exception;
        }

        if (token.Token >= 0 && before == FinishReason.None)
        {
            var now = _serving.Time.GetTimestamp();
            if (_lastToken[index] != 0)
            {
                _serving.Metrics.TokenAfter(_serving.Time.GetElapsedTime(_lastToken[index], now));
            }

            _lastToken[index] = now;
        }

        var piece = choice.Append(token);
        if (before == FinishReason.None && choice.Finish != FinishReason.None)
        {
            _unfinished--;
            _serving.Metrics.ChoiceFinished(choice.Finish);
            if (choice.StopStringFound)
            {
                _handles[prompt].AbortChoice(token.Choice);
            }
        }

        return piece;
    }

    /// <summary>What an event that ends a choice against its will means to the client.</summary>
    internal static ApiException FailureOf(in TokenEvent token) =>
        new(token.Finish == FinishReason.Error
            ? ApiError.Internal(token.Error ?? "The engine failed.")
            : ApiError.Unavailable("draining", "The server is shutting down and has ended the request.", 5));

    private void Report()
    {
        var fault = _serving.Engine.State == EngineState.Faulted;
        for (var i = 0; i < _unfinished; i++)
        {
            _serving.Metrics.ChoiceFinished(fault ? FinishReason.Error : FinishReason.Abort);
        }

        for (var i = 0; i < Call.Requests.Length; i++)
        {
            // a request that is only scored, or was given up while its prompt was, has no generation of its own
            var trace = i < _handles.Count ? _handles[i].Trace : new GenerationTrace();
            var request = Call.Requests[i];
            var mine = _choices.AsSpan(i * Call.ChoicesPerPrompt, Call.ChoicesPerPrompt).ToArray();
            var completed = mine.All(choice => choice.Finish != FinishReason.None);
            _serving.Metrics.RequestFinished(request, trace, completed);
            var reason = completed
                ? string.Join(',', mine.Select(choice => SalsMetrics.Name(choice.Finish)).Distinct())
                : fault ? "error" : "abort";
            var generated = mine.Sum(choice => choice.Count);
            var decode = Milliseconds(trace.FirstToken, trace.LastToken);
            var later = generated - Call.ChoicesPerPrompt;
            ApiLog.Finished(
                _logger, _requestId, _route, reason, request.Prompt.Length, trace.CachedTokens, generated,
                Milliseconds(trace.Arrived, trace.FirstToken), later > 0 ? decode * Call.ChoicesPerPrompt / later : 0,
                Milliseconds(trace.Arrived, trace.Started), Milliseconds(trace.Arrived, trace.Finished), CacheUse(trace, _serving.Info));
        }
    }

    /// <summary>
    /// Shares of decoded tokens and of (layer, token) pairs that read compressed pages, pairs that selected by score, pages flushed, and
    /// bytes per cached token in each pool when the request ended; shared pages count for each request that holds them.
    /// </summary>
    internal static string CacheUse(GenerationTrace trace, BackendInfo info)
    {
        if (info.Spec.IsDense || trace.DecodedTokens == 0)
        {
            return "";
        }

        double PerToken(PoolKind pool) => trace.CacheTokens == 0 ? 0 : (double)trace.CachePages[pool] * info.BytesOf(pool) / trace.CacheTokens;
        return string.Create(CultureInfo.InvariantCulture,
            $" sparse_tokens={(double)trace.SparseTokens / trace.DecodedTokens:0.000} sparse_pairs={trace.SparseLayerTokens / ((double)trace.DecodedTokens * info.LayerCount):0.000} selections={trace.ScoredLayerTokens} flushes={trace.FlushedPages} dense_bytes={PerToken(PoolKind.Dense):0} hot_bytes={PerToken(PoolKind.Hot):0} latent_bytes={PerToken(PoolKind.Latent):0}");
    }

    private double Milliseconds(long from, long to) => from == 0 || to == 0 ? 0 : _serving.Time.GetElapsedTime(from, to).TotalMilliseconds;
}
