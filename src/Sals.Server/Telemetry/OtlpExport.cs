using OpenTelemetry;
using OpenTelemetry.Exporter;
using OpenTelemetry.Metrics;
using OpenTelemetry.Resources;
using OpenTelemetry.Trace;
using Sals.Server.Api;
using Sals.Server.Options;

namespace Sals.Server.Telemetry;

/// <summary>
/// Sends spans and metrics to collectors over OTLP, each only where an endpoint is configured. Headers, time-outs, batching, sampling and the
/// service's name follow OpenTelemetry's own variables (OTEL_...). Disposing sends what is left.
/// </summary>
public sealed class OtlpExport : IDisposable
{
    private const int LastSendMilliseconds = 3000;

    private readonly TracerProvider? _traces;
    private readonly MeterProvider? _metrics;

    private OtlpExport(Uri? traces, Uri? metrics, OtlpExportProtocol protocol)
    {
        var resource = ResourceBuilder.CreateEmpty().AddService("sals", serviceVersion: StateRoutes.Version).AddTelemetrySdk().AddEnvironmentVariableDetector();
        if (traces is not null)
        {
            _traces = Sdk.CreateTracerProviderBuilder().SetResourceBuilder(resource).AddSource(RequestSpan.SourceName)
                .AddOtlpExporter(exporter => (exporter.Endpoint, exporter.Protocol) = (traces, protocol)).Build();
        }

        if (metrics is not null)
        {
            _metrics = Sdk.CreateMeterProviderBuilder().SetResourceBuilder(resource)
                .AddMeter(GenAiMeter.Name, "System.Runtime", "Microsoft.AspNetCore.Hosting", "Microsoft.AspNetCore.Server.Kestrel")
                .AddOtlpExporter(exporter => (exporter.Endpoint, exporter.Protocol) = (metrics, protocol)).Build();
        }
    }

    public static OtlpExport Start(SalsOptions options) => Start(options, Environment.GetEnvironmentVariable);

    public static OtlpExport Start(SalsOptions options, Func<string, string?> environment)
    {
        var (traces, metrics, protocol) = Resolve(options, environment);
        return new OtlpExport(traces, metrics, protocol);
    }

    /// <summary>Where to send what; null = nowhere. A URL without a path gets the one the signal has by convention.</summary>
    public static (Uri? Traces, Uri? Metrics, OtlpExportProtocol Protocol) Resolve(SalsOptions options, Func<string, string?> environment)
    {
        var protocol = environment("OTEL_EXPORTER_OTLP_PROTOCOL") == "grpc" ? OtlpExportProtocol.Grpc : OtlpExportProtocol.HttpProtobuf;
        return environment("OTEL_SDK_DISABLED") == "true"
            ? (null, null, protocol)
            : (Of("TRACES", "v1/traces", options.OtlpTracesEndpoint), Of("METRICS", "v1/metrics", options.OtlpMetricsEndpoint), protocol);

        Uri? Of(string signal, string path, Uri? configured)
        {
            if (configured is null && environment($"OTEL_{signal}_EXPORTER") == "none")
            {
                return null;
            }

            // the variable of one signal is used as it is, the common one is a base (OpenTelemetry, OTLP exporter configuration)
            var own = environment($"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT");
            var common = environment("OTEL_EXPORTER_OTLP_ENDPOINT");
            var url = configured ?? (!string.IsNullOrEmpty(own) ? new Uri(own) : !string.IsNullOrEmpty(common) ? new Uri(common.TrimEnd('/') + "/") : null);
            var isBase = url is not null && (url.AbsolutePath == "/" || (configured is null && string.IsNullOrEmpty(own)));
            return isBase && protocol == OtlpExportProtocol.HttpProtobuf ? new Uri(url!, path) : url;
        }
    }

    public void Dispose()
    {
        _traces?.ForceFlush(LastSendMilliseconds);
        _traces?.Dispose();
        _metrics?.ForceFlush(LastSendMilliseconds);
        _metrics?.Dispose();
    }
}
