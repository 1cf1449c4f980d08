using System.Globalization;
using Sals.Engine.Models;
using Sals.Engine.Sampling;
using Sals.Server.Api.Wire;

namespace Sals.Server.Api;

/// <summary>
/// The sampling fields, common to chat and completions. A silent request gets the model's recommended settings where the server applies
/// them, else OpenAI's defaults.
/// </summary>
public sealed class SamplingReader
{
    public const int MaxStopStrings = 64;
    public const int MaxStopLength = 1024;
    public const int MaxStopIds = 16;
    public const int MaxLogitBias = 1024;

    /// <summary>Fields this reader acts on.</summary>
    public static readonly IReadOnlyList<string> Names =
    [
        "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias", "seed",
        "min_tokens", "ignore_eos", "stop", "stop_token_ids",
    ];

    private readonly GenerationDefaults _defaults;
    private readonly int _vocabularySize;
    private readonly int[] _endTokenIds;
    private readonly Func<ulong> _nextSeed;

    /// <param name="nextSeed">Seeds of requests that bring none.</param>
    public SamplingReader(GenerationDefaults defaults, int vocabularySize, int[] endTokenIds, Func<ulong> nextSeed)
    {
        _defaults = defaults;
        _vocabularySize = vocabularySize;
        _endTokenIds = endTokenIds;
        _nextSeed = nextSeed;
    }

    public (SamplingOptions Sampling, int[] StopIds) Read(JsonFields fields, int logProbabilities, int maxTokens)
    {
        var ownStops = (fields.List("stop_token_ids", MaxStopIds) ?? [])
            .Select((item, i) => (int)JsonFields.IntegerOf(item, $"stop_token_ids[{i}]", 0, _vocabularySize - 1));
        var stopIds = (fields.Bool("ignore_eos") == true ? ownStops : _endTokenIds.Concat(ownStops)).Distinct().ToArray();
        var minTokens = (int)(fields.Integer("min_tokens", 0, int.MaxValue) ?? 0);
        if (minTokens > maxTokens)
        {
            throw JsonFields.Invalid("min_tokens", $"expected at most max_tokens, which is {maxTokens}, found {minTokens}");
        }

        var topK = fields.Integer("top_k", -1, int.MaxValue) ?? _defaults.TopK ?? 0;
        var sampling = new SamplingOptions
        {
            Temperature = (float)(fields.Number("temperature", 0, 2) ?? _defaults.Temperature ?? 1),
            TopP = (float)(fields.Number("top_p", 0, 1, minAllowed: false) ?? _defaults.TopP ?? 1),
            TopK = (int)Math.Max(0, topK),
            MinP = (float)(fields.Number("min_p", 0, 1) ?? _defaults.MinP ?? 0),
            PresencePenalty = (float)(fields.Number("presence_penalty", -2, 2) ?? 0),
            FrequencyPenalty = (float)(fields.Number("frequency_penalty", -2, 2) ?? 0),
            RepetitionPenalty = (float)(fields.Number("repetition_penalty", 0, 100, minAllowed: false) ?? _defaults.RepetitionPenalty ?? 1),
            LogitBias = ReadLogitBias(fields),
            Seed = fields.Integer("seed", long.MinValue, long.MaxValue) is { } seed ? unchecked((ulong)seed) : _nextSeed(),
            HeldBackIds = minTokens > 0 ? stopIds : [],
            MinTokens = minTokens,
            LogProbabilities = logProbabilities,
        };
        return (sampling, stopIds);
    }

    /// <summary>"stop": a text or a list of texts.</summary>
    public static string[] ReadStop(JsonFields fields)
    {
        if (fields.Find("stop") is not { } value)
        {
            return [];
        }

        return value.ValueKind == System.Text.Json.JsonValueKind.String
            ? [JsonFields.TextOf(value, "stop", MaxStopLength, 1)]
            : [.. JsonFields.ListOf(value, "stop", MaxStopStrings).Select((item, i) => JsonFields.TextOf(item, $"stop[{i}]", MaxStopLength, 1))];
    }

    private KeyValuePair<int, float>[] ReadLogitBias(JsonFields fields)
    {
        if (fields.Object("logit_bias") is not { } map)
        {
            return [];
        }

        var biases = new List<KeyValuePair<int, float>>();
        foreach (var (name, _) in map.All())
        {
            if (!int.TryParse(name, NumberStyles.None, CultureInfo.InvariantCulture, out var id) || id >= _vocabularySize)
            {
                throw JsonFields.Invalid("logit_bias", $"expected token ids from 0 to {_vocabularySize - 1} as keys, found another");
            }

            if (biases.Count == MaxLogitBias)
            {
                throw JsonFields.Invalid("logit_bias", $"expected at most {MaxLogitBias} entries");
            }

            biases.Add(new KeyValuePair<int, float>(id, (float)map.Number(name, -100, 100)!.Value));
        }

        if (biases.DistinctBy(bias => bias.Key).Count() < biases.Count)
        {
            throw JsonFields.Invalid("logit_bias", "expected each token id once");
        }

        return [.. biases];
    }
}
