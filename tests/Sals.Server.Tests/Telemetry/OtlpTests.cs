using OpenTelemetry.Exporter;
using Sals.Server.Options;
using Sals.Server.Telemetry;
using Sals.Server.Tests.Flow;
using Xunit;

namespace Sals.Server.Tests.Telemetry;

/// <summary>Spans and metrics as a collector receives them.</summary>
public class OtlpTests
{
    private const string TraceId = "4bf92f3577b34da6a3ce929d0e0e4736";
    private const string ParentId = "00f067aa0ba902b7";

    [Fact]
    public async Task A_request_is_a_span_under_the_callers_trace_with_counts_and_times_and_no_text()
    {
        await using var collector = await Collector.StartAsync();
        await using (var server = await TestServer.StartAsync(options => options with { OtlpTracesEndpoint = collector.Address, OtlpMetricsEndpoint = collector.Address }))
        {
            await SendAsync(server, "/v1/chat/completions", """
                {"model":"org/alias","messages":[{"role":"user","content":" 123 secret"}],"max_tokens":7,"ignore_eos":true,"temperature":0.5,"seed":9,"n":2,"stop":["a private stop"]}
                """, $"00-{TraceId}-{ParentId}-01");
            await SendAsync(server, "/v1/completions", """{"prompt":[1,2,3],"max_tokens":3,"ignore_eos":true,"stream":true}""", $"00-{TraceId}-{ParentId}-01");
            await SendAsync(server, "/v1/completions", """{"prompt":[1],"temperature":9}""", $"00-{TraceId}-{ParentId}-01");
            await SendAsync(server, "/v1/completions", """{"prompt":[1],"max_tokens":1}""", $"00-{TraceId}-{ParentId}-00");
        }

        // other servers of this process share the source; the trace is ours
        var spans = collector.Spans().Where(span => span.Hex(1) == TraceId).OrderBy(span => span.Number(7)).ToArray();
        Assert.Equal(["chat org/alias", "text_completion fake", "text_completion"], spans.Select(span => span.Text(5)));
        Assert.All(spans, span =>
        {
            Assert.Equal(ParentId, span.Hex(4));
            Assert.Equal(2UL, span.Number(6));
            Assert.True(span.Number(8) > span.Number(7));
        });

        var chat = spans[0].Attributes(9);
        Assert.Equal("chat", chat["gen_ai.operation.name"]);
        Assert.Equal("org/alias", chat["gen_ai.request.model"]);
        Assert.Equal("7", chat["gen_ai.request.max_tokens"]);
        Assert.Equal("0.5", chat["gen_ai.request.temperature"]);
        Assert.Equal("9", chat["gen_ai.request.seed"]);
        Assert.Equal("2", chat["gen_ai.request.choice.count"]);
        Assert.Equal("false", chat["gen_ai.request.stream"]);
        Assert.Equal("14", chat["gen_ai.usage.output_tokens"]);
        Assert.Equal("length,length", chat["gen_ai.response.finish_reasons"]);
        Assert.StartsWith("chatcmpl-", chat["gen_ai.response.id"]);
        Assert.False(chat.ContainsKey("error.type"));
        Assert.True(Number("time_to_first_token") > 0 && Number("e2e") >= Number("time_to_first_token"));
        Assert.Equal("3", spans[1].Attributes(9)["gen_ai.usage.output_tokens"]);
        Assert.Equal("invalid_request_error", spans[2].Attributes(9)["error.type"]);

        Assert.Contains("gen_ai.server.request.duration", collector.Everything());
        Assert.DoesNotContain("secret", collector.Everything());
        Assert.DoesNotContain("private", collector.Everything());

        double Number(string name) => double.Parse(chat["gen_ai.latency." + name], System.Globalization.CultureInfo.InvariantCulture);
    }

    [Fact]
    public async Task Server_metrics_arrive_with_the_conventions_names_units_and_buckets()
    {
        await using var collector = await Collector.StartAsync();
        var name = "otlp-" + Guid.NewGuid().ToString("N");
        await using (var server = await TestServer.StartAsync(
            _ => TestServer.Fake(() => new Sals.Testing.FakeBackend()) with { Names = [name] },
            options => options with { OtlpMetricsEndpoint = collector.Address }))
        {
            for (var i = 0; i < 3; i++)
            {
                await SendAsync(server, "/v1/completions", """{"prompt":[1,2,3],"max_tokens":4,"ignore_eos":true}""");
            }
        }

        var metrics = collector.Metrics().GroupBy(metric => metric.Text(1)).ToDictionary(group => group.Key, group => group.Last());
        foreach (var (metric, buckets) in new[] { ("request.duration", 14), ("time_to_first_token", 16), ("time_per_output_token", 13) })
        {
            var histogram = metrics["gen_ai.server." + metric];
            Assert.Equal("s", histogram.Text(3));
            // Metric.histogram.data_points: attributes 9, count 4, explicit_bounds 7
            var point = Assert.Single(histogram.All(9).SelectMany(h => h.All(1)), point => point.Attributes(9).GetValueOrDefault("gen_ai.request.model") == name);
            Assert.Equal(3UL, point.Number(4));
            Assert.Equal(buckets, point.Packed(7).Length);
            Assert.Equal("text_completion", point.Attributes(9)["gen_ai.operation.name"]);
        }
    }

    [Theory]
    [InlineData("", "", null, null)]
    [InlineData("http://c:4318", "", "http://c:4318/v1/traces", null)]
    [InlineData("http://c:4318/", "", "http://c:4318/v1/traces", null)]
    [InlineData("http://c:4318/own/path", "", "http://c:4318/own/path", null)]
    [InlineData("", "OTEL_EXPORTER_OTLP_ENDPOINT=http://e:4318", "http://e:4318/v1/traces", "http://e:4318/v1/metrics")]
    [InlineData("", "OTEL_EXPORTER_OTLP_ENDPOINT=http://e/base", "http://e/base/v1/traces", "http://e/base/v1/metrics")]
    [InlineData("http://c:1", "OTEL_EXPORTER_OTLP_ENDPOINT=http://e", "http://c:1/v1/traces", "http://e/v1/metrics")]
    [InlineData("", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://t/x", "http://t/x", null)]
    [InlineData("", "OTEL_EXPORTER_OTLP_ENDPOINT=http://e;OTEL_METRICS_EXPORTER=none", "http://e/v1/traces", null)]
    [InlineData("http://c", "OTEL_SDK_DISABLED=true", null, null)]
    [InlineData("http://c:4317", "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "http://c:4317/", null)]
    public void Endpoints_come_from_the_flag_then_from_OpenTelemetrys_variables(string flag, string variables, string? traces, string? metrics)
    {
        var environment = variables.Split(';', StringSplitOptions.RemoveEmptyEntries).Select(text => text.Split('=')).ToDictionary(pair => pair[0], pair => pair[1]);
        var options = SalsOptions.Default with { OtlpTracesEndpoint = flag.Length > 0 ? new Uri(flag) : null };
        var found = OtlpExport.Resolve(options, environment.GetValueOrDefault);
        Assert.Equal((traces, metrics), (found.Traces?.ToString(), found.Metrics?.ToString()));
        Assert.Equal(variables.Contains("grpc") ? OtlpExportProtocol.Grpc : OtlpExportProtocol.HttpProtobuf, found.Protocol);
    }

    private static async Task SendAsync(TestServer server, string path, string json, string? traceParent = null)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, path) { Content = new StringContent(json, null, "application/json") };
        if (traceParent is not null)
        {
            request.Headers.Add("traceparent", traceParent);
        }

        using var response = await server.Client.SendAsync(request);
        await response.Content.ReadAsStringAsync();
    }
}
