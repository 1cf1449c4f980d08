using System.Buffers;
using System.Text.Json;

namespace Sals.Server.Load;

/// <summary>Bodies of the requests, each made from the seed and its number alone.</summary>
public sealed class LoadPrompts
{
    /// <summary>Special tokens tend to be the first ids.</summary>
    private const int FirstId = 16;

    // short and common, so that most vocabularies have a token for each
    private static readonly string[] Words =
    [
        "the", "of", "and", "to", "in", "is", "was", "for", "that", "on", "as", "with", "by", "at", "from", "it", "an", "were", "which", "are",
        "this", "also", "be", "had", "first", "one", "their", "its", "new", "after", "but", "who", "not", "they", "have", "her", "she", "two",
        "been", "other", "when", "there", "all", "during", "into", "time", "may", "more", "years", "over", "only", "year", "most", "would",
        "world", "city", "some", "where", "between", "later", "up", "such", "used", "many", "can", "state", "about", "national", "out", "known",
    ];

    private readonly LoadOptions _options;
    private readonly string _model;
    private readonly int[][] _prefixes;

    public LoadPrompts(LoadOptions options, string model)
    {
        _options = options;
        _model = model;
        // far from the numbers of requests and warm-ups
        _prefixes = [.. Enumerable.Range(0, options.Prefixes).Select(p => Draw(Source((1L << 40) + p), options.PrefixLength))];
    }

    private int Choices => _options.Api == LoadApi.Chat ? Words.Length : _options.VocabularySize - FirstId;

    /// <param name="number">0 and up for requests; warm-ups are negative, so that they leave nothing in a prefix cache that a request hits.</param>
    /// <returns>UTF-8 JSON.</returns>
    public byte[] Body(long number)
    {
        var random = Source(number);
        var input = Draw(random, Length(random, _options.InputLength));
        var output = Length(random, _options.OutputLength);
        var prefix = _prefixes[(int)(Math.Abs(number) % _prefixes.Length)];
        var buffer = new ArrayBufferWriter<byte>(256 + (8 * (prefix.Length + input.Length)));
        using var json = new Utf8JsonWriter(buffer);
        json.WriteStartObject();
        json.WriteString("model", _model);
        WritePrompt(json, prefix, input);
        json.WriteNumber(_options.Api == LoadApi.Chat ? "max_completion_tokens" : "max_tokens", output);
        if (!Given("temperature"))
        {
            json.WriteNumber("temperature", 0);
        }

        if (_options.IgnoreEndToken)
        {
            json.WriteBoolean("ignore_eos", true);
        }

        json.WriteBoolean("stream", true);
        json.WriteStartObject("stream_options");
        json.WriteBoolean("include_usage", true);
        if (_options.ContinuousUsage)
        {
            json.WriteBoolean("continuous_usage_stats", true);
        }

        json.WriteEndObject();
        foreach (var field in _options.ExtraBody?.EnumerateObject() ?? default)
        {
            field.WriteTo(json);
        }

        json.WriteEndObject();
        json.Flush();
        return buffer.WrittenSpan.ToArray();
    }

    private void WritePrompt(Utf8JsonWriter json, int[] prefix, int[] input)
    {
        if (_options.Api == LoadApi.Completions)
        {
            json.WriteStartArray("prompt");
            foreach (var id in prefix.Concat(input))
            {
                json.WriteNumberValue(FirstId + id);
            }

            json.WriteEndArray();
            return;
        }

        json.WriteStartArray("messages");
        json.WriteStartObject();
        json.WriteString("role", "user");
        json.WriteString("content", string.Join(' ', prefix.Concat(input).Select(word => Words[word])));
        json.WriteEndObject();
        json.WriteEndArray();
    }

    private bool Given(string field) => _options.ExtraBody is { } extra && extra.TryGetProperty(field, out _);

    private int Length(Random random, int mean)
    {
        var (least, most) = ((int)Math.Ceiling(mean * (1 - _options.RangeRatio)), (int)Math.Floor(mean * (1 + _options.RangeRatio)));
        return Math.Max(1, random.Next(least, most + 1));
    }

    private int[] Draw(Random random, int count) => [.. Enumerable.Range(0, count).Select(_ => random.Next(Choices))];

    private Random Source(long number) =>
        new(unchecked((int)((((ulong)_options.Seed * 0x9E3779B97F4A7C15UL) + ((ulong)number * 0xD1B54A32D192ED03UL)) >> 32)));
}
