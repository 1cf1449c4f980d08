using System.Globalization;
using Sals.Engine.Models;
using Sals.Engine.Sampling;
using Sals.Engine.Text;
using Sals.Server.Api.Wire;
using Sals.Server.Hosting;

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
    public const int MaxBadWords = 256;
    public const int MaxBadWordLength = 256;

    /// <summary>Fields this reader acts on.</summary>
    public static readonly IReadOnlyList<string> Names =
    [
        "temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "repetition_penalty", "logit_bias", "seed",
        "min_tokens", "ignore_eos", "stop", "stop_token_ids", "allowed_token_ids", "bad_words",
    ];

    private readonly GenerationDefaults _defaults;
    private readonly int _vocabularySize;
    private readonly int[] _endTokenIds;
    private readonly int _maskWords;
    private readonly Tokenizer? _tokenizer;
    private readonly Func<ulong> _nextSeed;

    /// <param name="maskBits">Tokens of the backend, padding included: the length of a mask.</param>
    /// <param name="nextSeed">Seeds of requests that bring none.</param>
    public SamplingReader(LoadedModel model, int maskBits, Func<ulong> nextSeed)
    {
        _defaults = model.Defaults;
        _vocabularySize = model.VocabularySize;
        _endTokenIds = model.EndTokenIds;
        _tokenizer = model.Tokenizer;
        _maskWords = (maskBits + 31) / 32;
        _nextSeed = nextSeed;
    }

    /// <returns>Settings, the ids that end a choice, and the mask of tokens that may be sampled, null when all may.</returns>
    public (SamplingOptions Sampling, int[] StopIds, uint[]? Allowed) Read(JsonFields fields, int logProbabilities, int maxTokens)
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
        return (sampling, stopIds, ReadMask(fields, sampling.HeldBackIds));
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

    /// <summary>"allowed_token_ids" and "bad_words" as one mask.</summary>
    private uint[]? ReadMask(JsonFields fields, int[] heldBack)
    {
        var allowed = fields.List("allowed_token_ids", _vocabularySize, 1);
        var words = fields.List("bad_words", MaxBadWords) ?? [];
        if (allowed is null && words.Length == 0)
        {
            return null;
        }

        var mask = new uint[_maskWords];
        for (var id = 0; allowed is null && id < _vocabularySize; id++)
        {
            mask[id / 32] |= 1u << (id % 32);
        }

        for (var i = 0; i < (allowed?.Length ?? 0); i++)
        {
            var id = (int)JsonFields.IntegerOf(allowed![i], $"allowed_token_ids[{i}]", 0, _vocabularySize - 1);
            mask[id / 32] |= 1u << (id % 32);
        }

        for (var i = 0; i < words.Length; i++)
        {
            foreach (var id in TokensOf(JsonFields.TextOf(words[i], $"bad_words[{i}]", MaxBadWordLength, 1), $"bad_words[{i}]"))
            {
                mask[id / 32] &= ~(1u << (id % 32));
            }
        }

        var open = (uint[])mask.Clone();
        foreach (var id in heldBack)
        {
            open[id / 32] &= ~(1u << (id % 32));
        }

        return open.AsSpan().IndexOfAnyExcept(0u) >= 0
            ? mask
            : throw JsonFields.Invalid(allowed is null ? "bad_words" : "allowed_token_ids", "expected at least one token that bad_words and min_tokens leave possible, found none");
    }

    /// <summary>The token of a word within a text and, where it is another one, at its beginning.</summary>
    private int[] TokensOf(string word, string path)
    {
        var tokenizer = _tokenizer ?? throw new ApiException(ApiError.Invalid(path, $"{path}: this server has no tokenizer (--skip-tokenizer-init)."));
        var forms = new[] { word, " " + word.TrimStart(' ') }.Distinct(StringComparer.Ordinal)
            .Select(form => tokenizer.Encode(form, addSpecialTokens: false, parseSpecialTokens: true)).ToArray();
        return forms.All(ids => ids.Count == 1)
            ? [.. forms.Select(ids => ids[0])]
            : throw new ApiException(ApiError.Unsupported(path,
                $"{path}: only words of one token, also after a space, can be kept from being generated; this one has {forms.Max(ids => ids.Count)}."));
    }
}
