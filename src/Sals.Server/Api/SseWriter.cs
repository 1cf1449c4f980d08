using System.IO.Pipelines;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using Sals.Server.Api.Wire;

namespace Sals.Server.Api;

/// <summary>Writes server-sent events to a response body: <c>data: JSON</c> and an empty line. Nothing leaves before <see cref="FlushAsync"/>.</summary>
public sealed class SseWriter : IDisposable
{
    private readonly HttpContext _context;
    private readonly TimeProvider _time;
    private readonly PipeWriter _body;
    private readonly Utf8JsonWriter _json;

    public SseWriter(HttpContext context, TimeProvider time)
    {
        _context = context;
        _time = time;
        var body = _body = context.Response.BodyWriter;
        _json = new Utf8JsonWriter(body, WireJson.Writer);
    }

    /// <summary>An event with a name, as the Responses API has them.</summary>
    public void Event<T>(string name, T value, JsonTypeInfo<T> type)
    {
        Write("event: "u8);
        Write(System.Text.Encoding.UTF8.GetBytes(name));
        Write("\n"u8);
        Data(value, type);
    }

    public void Data<T>(T value, JsonTypeInfo<T> type)
    {
        Write("data: "u8);
        JsonSerializer.Serialize(_json, value, type);
        _json.Flush();
        _json.Reset();
        Write("\n\n"u8);
    }

    public void Done() => Write("data: [DONE]\n\n"u8);

    /// <summary>A comment, which clients skip; it keeps proxies from closing a silent connection.</summary>
    public void Ping() => Write(": ping\n\n"u8);

    /// <exception cref="OperationCanceledException">The client is gone, or does not read.</exception>
    public ValueTask FlushAsync(CancellationToken cancel) => ResponseFlush.RunAsync(_context, _time, cancel);

    public void Dispose() => _json.Dispose();

    private void Write(ReadOnlySpan<byte> bytes)
    {
        bytes.CopyTo(_body.GetSpan(bytes.Length));
        _body.Advance(bytes.Length);
    }
}
