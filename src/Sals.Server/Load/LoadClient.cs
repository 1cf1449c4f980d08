using System.Diagnostics;
using System.Net;
using System.Net.Http.Headers;
using System.Net.Sockets;
using System.Text.Json;

namespace Sals.Server.Load;

/// <summary>One server under load: which model it has, and one streamed request at a time.</summary>
public sealed class LoadClient : IDisposable
{
    private static readonly TimeSpan Between = TimeSpan.FromMilliseconds(200);

    private readonly LoadOptions _options;
    private readonly HttpClient _http;
    private readonly Uri _url;

    public LoadClient(LoadOptions options)
    {
        _options = options;
        _url = new Uri(options.BaseUrl + (options.Api == LoadApi.Chat ? "/v1/chat/completions" : "/v1/completions"));
        _http = new HttpClient(new SocketsHttpHandler
        {
            MaxConnectionsPerServer = int.MaxValue,
            ConnectTimeout = TimeSpan.FromSeconds(30),
            AllowAutoRedirect = false,
            UseProxy = false,
        })
        {
            Timeout = Timeout.InfiniteTimeSpan,
        };
        if (options.ApiKey is { } key)
        {
            _http.DefaultRequestHeaders.Authorization = new AuthenticationHeaderValue("Bearer", key);
        }
    }

    public void Dispose() => _http.Dispose();

    /// <summary>Name of the model to ask for, once the server answers.</summary>
    /// <exception cref="LoadException">It does not answer in time, denies, or its model is too short for the prompts.</exception>
    public async Task<string> ModelAsync(CancellationToken cancel)
    {
        var since = Stopwatch.GetTimestamp();
        while (true)
        {
            var (model, problem, final) = await AskAsync(cancel);
            if (model is not null)
            {
                return model;
            }

            if (final || Stopwatch.GetElapsedTime(since) >= _options.WaitForServer)
            {
                throw new LoadException(problem!);
            }

            await Task.Delay(Between, cancel);
        }
    }

    /// <summary>Sends a request and reads its answer to the end; failures are part of the result.</summary>
    /// <param name="start">Timestamp of second 0.</param>
    public async Task SendAsync(LoadResult result, byte[] body, long start, CancellationToken cancel)
    {
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(_options.Timeout);
        result.Sent = Stopwatch.GetElapsedTime(start).TotalSeconds;
        try
        {
            using var content = new ByteArrayContent(body);
            content.Headers.ContentType = new MediaTypeHeaderValue("application/json");
            using var request = new HttpRequestMessage(HttpMethod.Post, _url) { Content = content };
            using var response = await _http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, limit.Token);
            if (response.StatusCode == HttpStatusCode.OK)
            {
                await using var stream = await response.Content.ReadAsStreamAsync(limit.Token);
                await new LoadEvents(result, start).ReadAsync(stream, limit.Token);
            }
            else
            {
                result.Failure = $"HTTP {(int)response.StatusCode}";
                result.Detail = Message(await response.Content.ReadAsStringAsync(limit.Token));
            }
        }
        catch (OperationCanceledException)
        {
            (result.Failure, result.Detail) = cancel.IsCancellationRequested ? ("stopped", "by the user") : ("timed out", $"after {_options.Timeout.TotalSeconds:0} s");
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException)
        {
            (result.Failure, result.Detail) = (Network(exception), exception.Message);
        }

        result.End = Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    /// <summary>The message of OpenAI's error object, else the beginning of the text.</summary>
    internal static string Message(string body)
    {
        try
        {
            using var document = JsonDocument.Parse(body);
            return Message(document.RootElement);
        }
        catch (JsonException)
        {
            return Shortened(body);
        }
    }

    internal static string Message(JsonElement root) => Shortened(
        root.ValueKind == JsonValueKind.Object && root.TryGetProperty("error", out var error) && error.ValueKind == JsonValueKind.Object
        && error.TryGetProperty("message", out var message) && message.ValueKind == JsonValueKind.String
            ? message.GetString()! : root.GetRawText());

    private static string Shortened(string text) => string.Concat(text.Take(200).Select(c => char.IsControl(c) ? ' ' : c));

    private static string Network(Exception exception)
    {
        for (var inner = exception; inner is not null; inner = inner.InnerException)
        {
            if (inner is SocketException socket)
            {
                return socket.SocketErrorCode switch
                {
                    SocketError.ConnectionRefused => "refused",
                    SocketError.ConnectionReset or SocketError.ConnectionAborted or SocketError.Shutdown => "reset",
                    var code => $"network: {code}",
                };
            }
        }

        return exception is HttpRequestException { HttpRequestError: HttpRequestError.ResponseEnded } or HttpIOException ? "incomplete" : "network";
    }

    /// <summary>One look at GET /v1/models: a model, or why there is none and whether asking again is pointless.</summary>
    private async Task<(string? Model, string? Problem, bool Final)> AskAsync(CancellationToken cancel)
    {
        var url = _options.BaseUrl + "/v1/models";
        using var limit = CancellationTokenSource.CreateLinkedTokenSource(cancel);
        limit.CancelAfter(TimeSpan.FromSeconds(10));
        try
        {
            using var response = await _http.GetAsync(url, limit.Token);
            var body = await response.Content.ReadAsStringAsync(limit.Token);
            if (response.StatusCode == HttpStatusCode.NotFound && _options.Model is not null)
            {
                return (_options.Model, null, true);
            }

            return response.IsSuccessStatusCode
                ? Choose(url, body)
                : (null, $"GET {url}: expected 200, found {(int)response.StatusCode}: {Message(body)}", (int)response.StatusCode is < 500 and not 429);
        }
        catch (OperationCanceledException) when (!cancel.IsCancellationRequested)
        {
            return (null, $"GET {url}: no answer within 10 s", false);
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException)
        {
            return (null, $"No server at {_options.BaseUrl}: {exception.Message}", false);
        }
    }

    private (string? Model, string? Problem, bool Final) Choose(string url, string body)
    {
        try
        {
            using var document = JsonDocument.Parse(body);
            var cards = document.RootElement.GetProperty("data").EnumerateArray().ToArray();
            var names = cards.Select(card => card.GetProperty("id").GetString()!).ToArray();
            var chosen = _options.Model is null ? 0 : Array.IndexOf(names, _options.Model);
            if (chosen < 0 || names.Length == 0)
            {
                return (null, $"--model {_options.Model}: the server at {_options.BaseUrl} has {(names.Length == 0 ? "no model" : string.Join(", ", names))}", true);
            }

            // llama.cpp and others do not say how long
            var most = cards[chosen].TryGetProperty("max_model_len", out var length) && length.TryGetInt32(out var known) ? known : int.MaxValue;
            return _options.Api == LoadApi.Completions && (long)_options.MaxInput + _options.MaxOutput > most
                ? (null, $"Prompts of up to {_options.MaxInput} tokens and answers of up to {_options.MaxOutput} do not fit the {most} tokens of {names[chosen]}", true)
                : (names[chosen], null, true);
        }
        catch (Exception exception) when (exception is JsonException or KeyNotFoundException or InvalidOperationException)
        {
            return (null, $"GET {url}: expected a list of models, found {Shortened(body)}", true);
        }
    }
}
