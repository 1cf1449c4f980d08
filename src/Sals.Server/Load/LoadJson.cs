using System.Text.Json;
using Sals.Server.Api;

namespace Sals.Server.Load;

/// <summary>A report as one JSON object, flat and under the names that vLLM's benchmark gives its figures, so that its readers can read ours.</summary>
public static class LoadJson
{
    /// <param name="detailed">Adds a list with the times of each request.</param>
    public static void Write(Stream stream, LoadReport report, bool detailed)
    {
        using var json = new Utf8JsonWriter(stream, new JsonWriterOptions { Indented = true });
        var options = report.Options;
        json.WriteStartObject();
        json.WriteString("date", report.Date);
        json.WriteString("client", $"sals {StateRoutes.Version}");
        json.WriteString("base_url", options.BaseUrl);
        json.WriteString("endpoint_type", options.Api == LoadApi.Chat ? "openai-chat" : "openai");
        json.WriteString("model_id", report.Model);
        json.WriteNumber("num_prompts", options.Requests);
        Number(json, "request_rate", options.RequestRate);
        json.WriteNumber("burstiness", options.Burstiness);
        Number(json, "max_concurrency", options.MaxConcurrency ?? double.NaN);
        json.WriteNumber("random_input_len", options.InputLength);
        json.WriteNumber("random_output_len", options.OutputLength);
        json.WriteNumber("random_range_ratio", options.RangeRatio);
        json.WriteNumber("random_prefix_len", options.PrefixLength);
        json.WriteNumber("num_prefixes", options.Prefixes);
        json.WriteBoolean("ignore_eos", options.IgnoreEndToken);
        json.WriteNumber("seed", options.Seed);

        json.WriteNumber("duration", report.Seconds);
        json.WriteNumber("completed", report.Completed.Count);
        json.WriteNumber("failed", report.Results.Count - report.Completed.Count);
        json.WriteStartObject("failures");
        foreach (var failure in report.Failures)
        {
            json.WriteNumber(failure.Kind, failure.Count);
        }

        json.WriteEndObject();
        json.WriteNumber("total_input_tokens", report.InputTokens);
        json.WriteNumber("total_cached_tokens", report.CachedTokens);
        json.WriteNumber("total_output_tokens", report.OutputTokens);
        Number(json, "request_throughput", report.Completed.Count / report.Seconds);
        Number(json, "output_throughput", report.OutputTokens / report.Seconds);
        Number(json, "total_token_throughput", (report.InputTokens + report.OutputTokens) / report.Seconds);
        json.WriteNumber("max_output_tokens_per_s", report.PeakTokens());
        json.WriteNumber("max_concurrent_requests", report.PeakConcurrency());
        Number(json, "p99_dispatch_lag_ms", report.Lag);
        if (options.Goals.Count > 0)
        {
            Number(json, "request_goodput", report.Good / report.Seconds);
            Number(json, "goodput_share", (double)report.Good / Math.Max(1, report.Results.Count));
        }

        foreach (var latency in report.Latencies)
        {
            var name = latency.Metric.ToString().ToLowerInvariant();
            Number(json, $"mean_{name}_ms", latency.Mean);
            Number(json, $"median_{name}_ms", latency.Median);
            Number(json, $"std_{name}_ms", latency.Deviation);
            for (var i = 0; i < latency.Percentiles.Count; i++)
            {
                Number(json, string.Create(System.Globalization.CultureInfo.InvariantCulture, $"p{report.Percentiles[i]}_{name}_ms"), latency.Percentiles[i]);
            }
        }

        if (detailed)
        {
            WriteRequests(json, report);
        }

        json.WriteEndObject();
    }

    private static void WriteRequests(Utf8JsonWriter json, LoadReport report)
    {
        json.WriteStartArray("requests");
        foreach (var result in report.Results)
        {
            json.WriteStartObject();
            json.WriteNumber("number", result.Number);
            Number(json, "due", result.Due);
            Number(json, "sent", result.Sent);
            Number(json, "first", result.First);
            Number(json, "end", result.End);
            json.WriteNumber("prompt_tokens", result.PromptTokens);
            json.WriteNumber("output_tokens", result.OutputTokens);
            json.WriteString("failure", result.Failure);
            json.WriteEndObject();
        }

        json.WriteEndArray();
    }

    /// <summary>JSON has no infinity: null, as for what is not known.</summary>
    private static void Number(Utf8JsonWriter json, string name, double value)
    {
        if (double.IsFinite(value))
        {
            json.WriteNumber(name, value);
        }
        else
        {
            json.WriteNull(name);
        }
    }
}
