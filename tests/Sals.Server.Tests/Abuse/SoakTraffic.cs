using System.Collections.Concurrent;
using System.Diagnostics;
using System.Globalization;
using System.Text;
using Sals.Server.Load;

namespace Sals.Server.Tests.Abuse;

/// <summary>What clients do to a server in the soak: good requests of all kinds, bad ones, leaving early, reading slowly, coming all at once.</summary>
internal sealed class SoakTraffic(HttpClient client, int seed)
{
    /// <summary>A request that is admitted and not answered for so long is stuck.</summary>
    private static readonly TimeSpan Stuck = TimeSpan.FromMinutes(5);

    private readonly ConcurrentDictionary<int, int> _statuses = new();
    private readonly ConcurrentBag<double> _firstTokens = [];
    private readonly ConcurrentBag<double> _refusals = [];
    private int _aborted;
    private int _requests;

    /// <summary>What must not happen.</summary>
    public ConcurrentQueue<string> Problems { get; } = new();

    public int Refused => _statuses.GetValueOrDefault(429);

    public string Report()
    {
        var first = _firstTokens.Order().ToArray();
        var refusals = _refusals.Order().ToArray();
        return string.Create(CultureInfo.InvariantCulture,
            $"{_requests:#,0} requests ({string.Join(", ", _statuses.OrderBy(pair => pair.Key).Select(pair => $"{pair.Key} x {pair.Value:#,0}"))}), {Refused:#,0} refused, {_aborted:#,0} given up by the client, {Problems.Count} problems; TTFT of {first.Length:#,0} streams p50 {LoadReport.Percentile(first, 50):0} ms, p99 {LoadReport.Percentile(first, 99):0} ms; refusals p50 {LoadReport.Percentile(refusals, 50):0} ms, p99 {LoadReport.Percentile(refusals, 99):0} ms");
    }

    public async Task WorkAsync(int worker, CancellationToken end)
    {
        var random = new Random(seed + worker);
        while (!end.IsCancellationRequested)
        {
            switch (random.Next(100))
            {
                case < 35: await SendAsync("/v1/chat/completions", Chat(random, stream: true)); break;
                case < 50: await SendAsync("/v1/completions", Completion(random, random.Next(2) == 0)); break;
                case < 70: await SendAsync(random.Next(2) == 0 ? "/v1/chat/completions" : "/v1/completions", random.Next(2) == 0 ? Chat(random, random.Next(2) == 0) : Completion(random, random.Next(2) == 0), random.Next(1, 400)); break;
                case < 85:
                    var bad = new RequestGenerator(random).Next();
                    await SendAsync(bad.Path.StartsWith("/v1/", StringComparison.Ordinal) ? bad.Path : "/v1/chat/completions", Encoding.UTF8.GetString(bad.Body)); break;
                case < 92: await SendAsync("/v1/completions", Completion(random, stream: true), slow: true); break;
                case < 96: await SendAsync("/v1/chat/completions", Chat(random, stream: true, ",\"response_format\":{\"type\":\"json_object\"}")); break;
                default: await GetAsync(random.Next(2) == 0 ? "/metrics" : "/health"); break;
            }

            await Task.Delay(random.Next(100), CancellationToken.None);
        }
    }

    /// <summary>Ten times as many requests at once as the server may hold, now and then.</summary>
    public async Task BurstAsync(CancellationToken end)
    {
        var random = new Random(seed - 1);
        while (!end.IsCancellationRequested)
        {
            await Task.WhenAll(Enumerable.Range(0, 240).Select(_ => SendAsync("/v1/completions", Completion(random, stream: true, short_: true))));
            try
            {
                await Task.Delay(TimeSpan.FromSeconds(random.Next(10, 25)), end);
            }
            catch (OperationCanceledException)
            {
                return;
            }
        }
    }

    private static string Chat(Random random, bool stream, string more = "") =>
        $"{{\"messages\":[{{\"role\":\"user\",\"content\":\"{string.Join(' ', Enumerable.Range(0, random.Next(1, 60)).Select(_ => random.Next(1000)))}\"}}],\"max_tokens\":{random.Next(1, 40)},\"temperature\":0.8,\"stream\":{(stream ? "true" : "false")}{more}}}";

    private static string Completion(Random random, bool stream, bool short_ = false)
    {
        // a third begins with one of four prefixes, which the cache keeps
        var shared = random.Next(3) == 0 ? Enumerable.Repeat(100 + random.Next(4), 320) : [];
        var ids = shared.Concat(Enumerable.Range(0, random.Next(1, short_ ? 20 : random.Next(20) == 0 ? 1200 : 200)).Select(_ => random.Next(16, 8000)));
        return $"{{\"prompt\":[{string.Join(',', ids)}],\"max_tokens\":{random.Next(1, short_ ? 8 : 48)},\"ignore_eos\":true,\"n\":{(short_ ? 1 : random.Next(1, 3))},\"stream\":{(stream ? "true" : "false")}}}";
    }

    private async Task GetAsync(string path)
    {
        using var response = await client.GetAsync(path);
        Interlocked.Increment(ref _requests);
        Count((int)response.StatusCode, path);
    }

    /// <param name="leaveAfter">Milliseconds after which the client goes; 0 = it stays.</param>
    private async Task SendAsync(string path, string body, int leaveAfter = 0, bool slow = false)
    {
        Interlocked.Increment(ref _requests);
        using var cancel = new CancellationTokenSource(leaveAfter > 0 ? TimeSpan.FromMilliseconds(leaveAfter) : Stuck);
        var started = Stopwatch.GetTimestamp();
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = new StringContent(body, Encoding.UTF8, "application/json") };
            using var response = await client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, cancel.Token);
            var status = (int)response.StatusCode;
            Count(status, path);
            var stream = await response.Content.ReadAsStreamAsync(cancel.Token);
            var text = await ReadAsync(stream, response.Content.Headers.ContentType?.MediaType == "text/event-stream", started, slow, cancel.Token);
            if (status == 429)
            {
                _refusals.Add(Stopwatch.GetElapsedTime(started).TotalMilliseconds);
            }

            if (text is not null && !text.EndsWith("data: [DONE]\n\n", StringComparison.Ordinal))
            {
                Problems.Enqueue($"{path}: a stream without [DONE]: ...{text[Math.Max(0, text.Length - 300)..]}");
            }
        }
        catch (OperationCanceledException) when (leaveAfter > 0)
        {
            Interlocked.Increment(ref _aborted);
        }
        catch (OperationCanceledException)
        {
            Problems.Enqueue($"{path}: stuck for {Stuck.TotalSeconds:0} s: {body[..Math.Min(200, body.Length)]}");
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException)
        {
            Problems.Enqueue($"{path}: {exception.Message}: {body[..Math.Min(200, body.Length)]}");
        }
    }

    /// <summary>The text of a stream of events, null for another body.</summary>
    private async Task<string?> ReadAsync(Stream stream, bool events, long started, bool slow, CancellationToken cancel)
    {
        var text = new StringBuilder();
        var buffer = new byte[slow ? 64 : 16384];
        var first = true;
        for (int count; (count = await stream.ReadAsync(buffer, cancel)) > 0;)
        {
            text.Append(Encoding.UTF8.GetString(buffer, 0, count));
            // chat opens with the role before there is a token
            if (events && first && (text.ToString().Contains("\"text\":", StringComparison.Ordinal) || text.ToString().Contains("\"content\":\"", StringComparison.Ordinal)))
            {
                first = false;
                _firstTokens.Add(Stopwatch.GetElapsedTime(started).TotalMilliseconds);
            }

            if (slow)
            {
                await Task.Delay(5, cancel);
            }
        }

        return events ? text.ToString() : null;
    }

    private void Count(int status, string path)
    {
        _statuses.AddOrUpdate(status, 1, (_, count) => count + 1);
        if (status >= 500)
        {
            Problems.Enqueue($"{path}: {status}");
        }
    }
}
