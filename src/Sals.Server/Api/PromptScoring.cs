using Sals.Engine;
using Sals.Engine.Text;
using Sals.Server.Hosting;

namespace Sals.Server.Api;

/// <summary>
/// Log-probabilities of a prompt's own tokens (completions with echo and logprobs, as evaluation harnesses ask, and vLLM's prompt_logprobs): the prompt is fed token by
/// token as forced output, so each step's logits are the ones a generation would have seen. Costs a decode step a token.
/// </summary>
public static class PromptScoring
{
    /// <summary>One list a prompt; the first token of each is left without a value, because nothing precedes it.</summary>
    /// <exception cref="ApiException">The engine failed or stops.</exception>
    /// <exception cref="EngineNotReadyException">The engine takes no requests.</exception>
    public static async Task<AnswerToken[][]> RunAsync(Serving serving, Call call, CancellationToken cancel)
    {
        var handles = new List<GenerationHandle?>();
        try
        {
            foreach (var request in call.Requests)
            {
                handles.Add(request.Prompt.Length == 1 ? null : serving.Engine.Start(Forced(request, call.Form.ScoredLogProbabilities)));
            }

            var scores = new AnswerToken[call.Requests.Length][];
            for (var i = 0; i < scores.Length; i++)
            {
                scores[i] = await ReadAsync(call.Requests[i].Prompt, handles[i], serving.Model.Tokenizer, cancel);
            }

            return scores;
        }
        finally
        {
            foreach (var handle in handles)
            {
                if (handle is not null)
                {
                    await handle.DisposeAsync();
                }
            }
        }
    }

    private static GenerationRequest Forced(GenerationRequest request, int top) => request with
    {
        Id = request.Id + "-echo",
        Prompt = [request.Prompt[0]],
        ForcedTokens = request.Prompt[1..],
        MaxTokens = request.Prompt.Length - 1,
        Choices = 1,
        StopTokenIds = [],
        AllowedTokens = null,
        Grammar = null,
        Sampling = request.Sampling with { HeldBackIds = [], MinTokens = 0, LogitBias = [], LogProbabilities = top },
    };

    private static async Task<AnswerToken[]> ReadAsync(int[] prompt, GenerationHandle? handle, Tokenizer? tokenizer, CancellationToken cancel)
    {
        var text = tokenizer is null ? null : new Detokenizer(tokenizer, skipSpecialTokens: true, atTextStart: true);
        var scores = new List<AnswerToken>(prompt.Length) { new(prompt[0], float.NaN, null, 0) };
        var offset = text?.Append(prompt[0]).Length ?? 0;
        if (handle is not null)
        {
            await foreach (var token in handle.Events.ReadAllAsync(cancel))
            {
                if (token.Finish is FinishReason.Error or FinishReason.Abort)
                {
                    throw Generation.FailureOf(token);
                }

                scores.Add(new AnswerToken(token.Token, token.LogProbability, token.Top, offset));
                offset += text?.Append(token.Token).Length ?? 0;
            }
        }

        return [.. scores];
    }
}
