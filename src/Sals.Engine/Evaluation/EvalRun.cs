using Sals.Engine.Sampling;

namespace Sals.Engine.Evaluation;

/// <summary>What came of one request.</summary>
/// <param name="Tokens">Generated ids; without the token that ended the turn.</param>
/// <param name="Ended">The model ended its turn itself.</param>
/// <param name="LogProbabilities">Of every token, natural logarithm; zeros unless asked for.</param>
/// <param name="Trace">Times, counts and pages.</param>
public sealed record EvalAnswer(int[] Tokens, bool Ended, float[] LogProbabilities, GenerationTrace Trace);

/// <summary>Puts many requests through one engine, a few at a time, and keeps their answers in order.</summary>
/// <param name="Engine">Ready.</param>
/// <param name="AtOnce">Requests in the engine at the same time; at most its slots.</param>
public sealed record EvalRun(InferenceEngine Engine, int AtOnce)
{
    /// <summary>Told every answer and its index, from any thread.</summary>
    public Action<int, EvalAnswer>? Answered { get; init; }

    /// <summary>Greedy answers, in order.</summary>
    /// <exception cref="EvalException">A request failed.</exception>
    public Task<EvalAnswer[]> AnswerAsync(IReadOnlyList<EvalItem> items, int[] stopTokenIds, CancellationToken stop) =>
        RunAsync([.. items.Select(item => Request(item.Prompt, item.MaxTokens) with { StopTokenIds = stopTokenIds })], stop);

    /// <summary>
    /// Teacher-forces the tokens behind the first <paramref name="promptLength"/> of each window, as decode rows. The first forced token is predicted by the
    /// prefill, which never sees a compressed cache: its log-probability is not meaningful and must be left out.
    /// </summary>
    /// <exception cref="EvalException">A request failed.</exception>
    public Task<EvalAnswer[]> ForceAsync(IReadOnlyList<int[]> windows, int promptLength, CancellationToken stop) =>
        RunAsync(
            [.. windows.Select(window => Request(window[..promptLength], window.Length - promptLength) with
            {
                ForcedTokens = window[promptLength..],
                Sampling = new SamplingOptions { Temperature = 0, LogProbabilities = 0 },
            })],
            stop);

    // without prefix reuse: a prefix taken over in latent form would make a prompt's answer depend on the prompts before it
    private static GenerationRequest Request(int[] prompt, int maxTokens) => new()
    {
        Id = "eval",
        Prompt = prompt,
        MaxTokens = maxTokens,
        Sampling = new SamplingOptions { Temperature = 0 },
        UsePrefixCache = false,
    };

    private async Task<EvalAnswer[]> RunAsync(GenerationRequest[] requests, CancellationToken stop)
    {
        var answers = new EvalAnswer[requests.Length];
        await Parallel.ForAsync(0, requests.Length, new ParallelOptions { MaxDegreeOfParallelism = AtOnce, CancellationToken = stop }, async (i, cancel) =>
        {
            answers[i] = await ReadAsync(Engine.Start(requests[i]), cancel).ConfigureAwait(false);
            Answered?.Invoke(i, answers[i]);
        }).ConfigureAwait(false);
        return answers;
    }

    private static async Task<EvalAnswer> ReadAsync(GenerationHandle handle, CancellationToken stop)
    {
        await using (handle)
        {
            var tokens = new List<int>();
            var logProbabilities = new List<float>();
            var ended = false;
            await foreach (var token in handle.Events.ReadAllAsync(stop).ConfigureAwait(false))
            {
                if (token.Finish is FinishReason.Error or FinishReason.Abort)
                {
                    throw new EvalException(token.Error ?? "The engine gave a request up.");
                }

                ended = token.Finish == FinishReason.Stop;
                if (!ended)
                {
                    tokens.Add(token.Token);
                    logProbabilities.Add(token.LogProbability);
                }
            }

            return new EvalAnswer([.. tokens], ended, [.. logProbabilities], handle.Trace);
        }
    }
}

/// <summary>An evaluation cannot be run or its result must not be used.</summary>
public sealed class EvalException : Exception
{
    public EvalException(string message)
        : base(message)
    {
    }
}
