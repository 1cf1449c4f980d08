using System.Text;
using Sals.Engine.Text;
using Sals.Server.Api.Wire;

namespace Sals.Server.Api;

/// <summary>Log-probabilities of tokens in the two forms of the API.</summary>
public sealed class LogProbabilities
{
    /// <summary>JSON has no infinity; what is impossible is shown as this, as other servers do.</summary>
    private const double Floor = -9999;

    private readonly Tokenizer? _tokenizer;
    private readonly int _top;

    /// <param name="top">Alternatives that were asked for.</param>
    public LogProbabilities(Tokenizer? tokenizer, int top)
    {
        _tokenizer = tokenizer;
        _top = top;
    }

    public ChatLogProbabilities Chat(IEnumerable<AnswerToken> tokens) => new([.. tokens.Select(token =>
        new ChatTokenLogProbability(
            Text(token.Id), Finite(token.LogProbability), Bytes(token.Id),
            [.. (token.Top ?? []).Take(_top).Select(top => new ChatTopLogProbability(Text(top.Token), Finite(top.LogProbability), Bytes(top.Token)))]))]);

    /// <param name="prompt">Tokens of an echoed prompt, which come first; its first has no value (NaN).</param>
    /// <param name="shift">Characters of the echoed prompt.</param>
    public CompletionLogProbabilities Completion(IReadOnlyList<AnswerToken> prompt, IReadOnlyList<AnswerToken> tokens, int shift)
    {
        AnswerToken[] all = [.. prompt, .. tokens.Select(token => token with { Offset = token.Offset + shift })];
        return new CompletionLogProbabilities(
            [.. all.Select(token => Text(token.Id))],
            [.. all.Select(token => float.IsNaN(token.LogProbability) ? null : (double?)Finite(token.LogProbability))],
            _top == 0 ? null : [.. all.Select(token => float.IsNaN(token.LogProbability) ? null : Alternatives(token))],
            [.. all.Select(token => token.Offset)]);
    }

    /// <summary>vLLM's prompt_logprobs: for each token of a prompt the most probable ones and itself, by id; null for the first.</summary>
    /// <param name="top">Alternatives that were asked for.</param>
    public IReadOnlyList<IReadOnlyDictionary<string, PromptLogProbability>?> Prompt(IReadOnlyList<AnswerToken> prompt, int top) =>
        [.. prompt.Select(token => float.IsNaN(token.LogProbability) ? null : PromptEntry(token, top))];

    private Dictionary<string, PromptLogProbability> PromptEntry(AnswerToken token, int top)
    {
        var map = new Dictionary<string, PromptLogProbability>(StringComparer.Ordinal);
        var alternatives = (token.Top ?? []).Take(top).ToArray();
        for (var i = 0; i < alternatives.Length; i++)
        {
            map[Id(alternatives[i].Token)] = new PromptLogProbability(Finite(alternatives[i].LogProbability), i + 1, Text(alternatives[i].Token));
        }

        map.TryAdd(Id(token.Id), new PromptLogProbability(Finite(token.LogProbability), null, Text(token.Id)));
        return map;

        static string Id(int id) => id.ToString(System.Globalization.CultureInfo.InvariantCulture);
    }

    /// <summary>The most probable tokens and the sampled one, by text; of two with one text the more probable counts.</summary>
    private Dictionary<string, double> Alternatives(AnswerToken token)
    {
        var map = new Dictionary<string, double>(StringComparer.Ordinal);
        foreach (var top in (token.Top ?? []).Take(_top))
        {
            map.TryAdd(Text(top.Token), Finite(top.LogProbability));
        }

        map.TryAdd(Text(token.Id), Finite(token.LogProbability));
        return map;
    }

    private static double Finite(float value) => float.IsFinite(value) ? Math.Max(value, Floor) : Floor;

    private string Text(int id) => _tokenizer is null ? $"token_id:{id}" : Encoding.UTF8.GetString(_tokenizer.TokenBytes(id));

    private int[] Bytes(int id)
    {
        if (_tokenizer is null)
        {
            return [];
        }

        var bytes = _tokenizer.TokenBytes(id);
        var numbers = new int[bytes.Length];
        for (var i = 0; i < bytes.Length; i++)
        {
            numbers[i] = bytes[i];
        }

        return numbers;
    }
}
