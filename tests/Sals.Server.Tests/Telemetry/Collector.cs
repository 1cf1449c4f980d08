using System.Collections.Concurrent;
using System.Text;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Hosting.Server;
using Microsoft.AspNetCore.Hosting.Server.Features;
using Microsoft.Extensions.DependencyInjection;

namespace Sals.Server.Tests.Telemetry;

/// <summary>An OTLP collector in the process: takes HTTP/protobuf and keeps what came, by path.</summary>
public sealed class Collector : IAsyncDisposable
{
    private readonly WebApplication _app;
    private readonly ConcurrentQueue<(string Path, Message Body)> _received = new();

    private Collector(WebApplication app) => _app = app;

    public Uri Address { get; private set; } = null!;

    public static async Task<Collector> StartAsync()
    {
        var builder = WebApplication.CreateEmptyBuilder(new WebApplicationOptions());
        builder.WebHost.UseKestrelCore().UseUrls("http://127.0.0.1:0");
        var collector = new Collector(builder.Build());
        collector._app.Run(async context =>
        {
            using var body = new MemoryStream();
            await context.Request.Body.CopyToAsync(body);
            collector._received.Enqueue((context.Request.Path, new Message(body.ToArray())));
            context.Response.ContentType = "application/x-protobuf";
        });
        await collector._app.StartAsync();
        collector.Address = new Uri(collector._app.Services.GetRequiredService<IServer>().Features.Get<IServerAddressesFeature>()!.Addresses.First());
        return collector;
    }

    /// <summary>All spans: ExportTraceServiceRequest.resource_spans.scope_spans.spans.</summary>
    public IEnumerable<Message> Spans() => _received.Where(item => item.Path == "/v1/traces")
        .SelectMany(item => item.Body.All(1)).SelectMany(resource => resource.All(2)).SelectMany(scope => scope.All(2));

    /// <summary>All metrics: ExportMetricsServiceRequest.resource_metrics.scope_metrics.metrics.</summary>
    public IEnumerable<Message> Metrics() => _received.Where(item => item.Path == "/v1/metrics")
        .SelectMany(item => item.Body.All(1)).SelectMany(resource => resource.All(2)).SelectMany(scope => scope.All(2));

    /// <summary>Every byte that came, as text: nothing private may be in it.</summary>
    public string Everything() => string.Concat(_received.Select(item => Encoding.Latin1.GetString(item.Body.Bytes)));

    public ValueTask DisposeAsync() => _app.DisposeAsync();
}

/// <summary>A protobuf message, read without its schema (protobuf.dev/programming-guides/encoding).</summary>
public sealed class Message
{
    private readonly List<(int Field, object Value)> _fields = [];

    public Message(byte[] bytes)
    {
        Bytes = bytes;
        for (var at = 0; at < bytes.Length;)
        {
            var key = Varint(bytes, ref at);
            var field = (int)(key >> 3);
            switch (key & 7)
            {
                case 0:
                    _fields.Add((field, Varint(bytes, ref at)));
                    break;
                case 1:
                    _fields.Add((field, BitConverter.ToUInt64(bytes, at)));
                    at += 8;
                    break;
                case 2:
                    var length = (int)Varint(bytes, ref at);
                    _fields.Add((field, bytes[at..(at + length)]));
                    at += length;
                    break;
                default:
                    _fields.Add((field, (ulong)BitConverter.ToUInt32(bytes, at)));
                    at += 4;
                    break;
            }
        }
    }

    public byte[] Bytes { get; }

    public IEnumerable<Message> All(int field) => Blobs(field).Select(bytes => new Message(bytes));

    public string Text(int field) => Encoding.UTF8.GetString(Blobs(field).FirstOrDefault() ?? []);

    public string Hex(int field) => Convert.ToHexStringLower(Blobs(field).FirstOrDefault() ?? []);

    public ulong Number(int field) => (ulong)(_fields.FirstOrDefault(f => f.Field == field).Value ?? 0UL);

    /// <summary>Repeated 64-bit numbers, packed.</summary>
    public ulong[] Packed(int field) => [.. Blobs(field).SelectMany(bytes => bytes.Chunk(8)).Select(chunk => BitConverter.ToUInt64(chunk))];

    /// <summary>KeyValue list of attributes as text: string, bool, int, double or a list of strings joined by commas.</summary>
    public Dictionary<string, string> Attributes(int field) => All(field).ToDictionary(pair => pair.Text(1), pair =>
    {
        var value = pair.All(2).First();
        var (kind, content) = value._fields[0];
        return kind switch
        {
            1 => value.Text(1),
            2 => (ulong)content == 1 ? "true" : "false",
            3 => ((long)(ulong)content).ToString(System.Globalization.CultureInfo.InvariantCulture),
            4 => BitConverter.UInt64BitsToDouble((ulong)content).ToString(System.Globalization.CultureInfo.InvariantCulture),
            5 => string.Join(',', value.All(5).First().All(1).Select(item => item.Text(1))),
            _ => "?",
        };
    });

    private IEnumerable<byte[]> Blobs(int field) => _fields.Where(f => f.Field == field).Select(f => (byte[])f.Value);

    private static ulong Varint(byte[] bytes, ref int at)
    {
        var value = 0UL;
        for (var shift = 0; ; shift += 7)
        {
            var next = bytes[at++];
            value |= (ulong)(next & 127) << shift;
            if (next < 128)
            {
                return value;
            }
        }
    }
}
