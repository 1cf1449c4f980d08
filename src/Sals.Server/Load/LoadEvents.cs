using System.Diagnostics;
using System.Text.Json;

namespace Sals.Server.Load;

/// <summary>Reads a stream of server-sent events into a <see cref="LoadResult"/>, with the time at which each was there.</summary>
internal sealed class LoadEvents
{
    private readonly LoadResult _result;
    private readonly long _start;
    private double _last;
    private int _counted;
    private bool _done;

    /// <param name="start">Timestamp of second 0.</param>
    public LoadEvents(LoadResult result, long start)
    {
        _result = result;
        _start = start;
    }

    public async Task ReadAsync(Stream stream, CancellationToken cancel)
    {
        var buffer = new byte[16 << 10];
        var length = 0;
        while (true)
        {
            if (length == buffer.Length)
            {
                Array.Resize(ref buffer, 2 * length);
            }

            var count = await stream.ReadAsync(buffer.AsMemory(length), cancel);
            var now = Stopwatch.GetElapsedTime(_start).TotalSeconds;
            if (count == 0)
            {
                break;
            }

            var from = 0;
            var scanned = length;
            length += count;
            for (int end; (end = buffer.AsSpan(scanned, length - scanned).IndexOf((byte)'\n')) >= 0; from = scanned)
            {
                end += scanned;
                Line(buffer.AsMemory(from, end - from), now);
                scanned = end + 1;
            }

            buffer.AsSpan(from, length - from).CopyTo(buffer);
            length -= from;
        }

        if (!_done && _result.Failure is null)
        {
            (_result.Failure, _result.Detail) = ("incomplete", "the stream ended without [DONE]");
        }
    }

    private void Line(ReadOnlyMemory<byte> line, double now)
    {
        if (!line.Span.StartsWith("data:"u8))
        {
            return;
        }

        var data = line[5..].TrimStart((byte)' ').TrimEnd((byte)'\r');
        if (data.Span.SequenceEqual("[DONE]"u8))
        {
            _done = true;
            return;
        }

        try
        {
            using var document = JsonDocument.Parse(data);
            Event(document.RootElement, now);
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException)
        {
            (_result.Failure, _result.Detail) = ("stream error", $"an event that is no completion: {exception.Message}");
        }
    }

    private void Event(JsonElement root, double now)
    {
        if (root.TryGetProperty("error", out var error) && error.ValueKind != JsonValueKind.Null)
        {
            (_result.Failure, _result.Detail) = ("stream error", LoadClient.Message(root));
            return;
        }

        var choice = root.TryGetProperty("choices", out var choices) && choices.GetArrayLength() > 0 ? choices[0] : (JsonElement?)null;
        var counted = _counted;
        if (root.TryGetProperty("usage", out var usage) && usage.ValueKind == JsonValueKind.Object)
        {
            counted = usage.GetProperty("completion_tokens").GetInt32();
            _result.PromptTokens = usage.GetProperty("prompt_tokens").GetInt32();
            _result.OutputTokens = counted;
            if (usage.TryGetProperty("prompt_tokens_details", out var details) && details.ValueKind == JsonValueKind.Object
                && details.TryGetProperty("cached_tokens", out var cached) && cached.ValueKind == JsonValueKind.Number)
            {
                _result.CachedTokens = cached.GetInt32();
            }
        }
        else if (choice is { } some && HasText(some))
        {
            counted++;
            _result.OutputTokens = counted;
        }

        if (choice is { } answer && (counted > _counted || (double.IsNaN(_result.First) && Ended(answer))))
        {
            Tokens(Math.Max(1, counted - _counted), now);
        }

        _counted = counted;
    }

    private void Tokens(int count, double now)
    {
        if (double.IsNaN(_result.First))
        {
            _result.First = _last = now;
            // what came together with the first token came without a gap
            _result.Gaps.AddRange(Enumerable.Repeat(0f, count - 1));
            return;
        }

        _result.Gaps.AddRange(Enumerable.Repeat((float)((now - _last) / count), count));
        _last = now;
    }

    private static bool Ended(JsonElement choice) => choice.TryGetProperty("finish_reason", out var reason) && reason.ValueKind == JsonValueKind.String;

    private static bool HasText(JsonElement choice) => choice.TryGetProperty("delta", out var delta)
        ? Filled(delta, "content") || Filled(delta, "reasoning_content") || Filled(delta, "reasoning") || delta.TryGetProperty("tool_calls", out _)
        : Filled(choice, "text");

    private static bool Filled(JsonElement element, string name) =>
        element.TryGetProperty(name, out var text) && text.ValueKind == JsonValueKind.String && text.GetString()!.Length > 0;
}
