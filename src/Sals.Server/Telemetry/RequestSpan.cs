using System.Diagnostics;
using Sals.Server.Api;

namespace Sals.Server.Telemetry;

/// <summary>
/// One generating request as OpenTelemetry sees it: a span under the caller's W3C trace context, and the <c>gen_ai.server</c> metrics.
/// Counts, times, settings and ids only: neither prompts nor answers nor stop strings. Dispose it after the generation.
/// </summary>
public sealed class RequestSpan : IDisposable
{
    public const string SourceName = "Sals.Server";

    private static readonly ActivitySource Source = new(SourceName, StateRoutes.Version);

    private readonly string _operation;
    private readonly TimeProvider _time;
    private readonly long _started;
    private readonly Activity? _activity;
    private Generation? _generation;
    private Call? _call;
    private string? _errorType;

    private RequestSpan(HttpContext context, string operation, TimeProvider time)
    {
        _operation = operation;
        _time = time;
        _started = time.GetTimestamp();
        var headers = context.Request.Headers;
        ActivityContext.TryParse(headers.TraceParent, headers.TraceState, isRemote: true, out var parent);
        // the web server's own activity is not exported, so it must not become the parent
        Activity.Current = null;
        _activity = Source.StartActivity(operation, ActivityKind.Server, parent);
        _activity?.SetTag("gen_ai.operation.name", operation).SetTag("gen_ai.provider.name", "sals").SetTag("sals.request.id", context.TraceIdentifier);
    }

    public static RequestSpan Start(HttpContext context, string operation, TimeProvider time) => new(context, operation, time);

    /// <summary>The request is valid.</summary>
    public void Read(Call call)
    {
        _call = call;
        if (_activity is not { } activity)
        {
            return;
        }

        var sampling = call.Requests[0].Sampling;
        activity.DisplayName = $"{_operation} {call.Model}";
        activity.SetTag("gen_ai.request.model", call.Model);
        activity.SetTag("gen_ai.response.id", call.Id);
        activity.SetTag("gen_ai.response.model", call.Model);
        activity.SetTag("gen_ai.request.max_tokens", call.Requests[0].MaxTokens);
        activity.SetTag("gen_ai.request.temperature", (double)(decimal)sampling.Temperature);
        activity.SetTag("gen_ai.request.top_p", (double)(decimal)sampling.TopP);
        activity.SetTag("gen_ai.request.top_k", sampling.TopK);
        activity.SetTag("gen_ai.request.frequency_penalty", (double)(decimal)sampling.FrequencyPenalty);
        activity.SetTag("gen_ai.request.presence_penalty", (double)(decimal)sampling.PresencePenalty);
        activity.SetTag("gen_ai.request.seed", unchecked((long)sampling.Seed));
        activity.SetTag("gen_ai.request.choice.count", call.ChoiceCount);
        activity.SetTag("gen_ai.request.stream", call.Form.Stream);
        activity.SetTag("gen_ai.usage.input_tokens", call.PromptTokens);
    }

    /// <summary>It has been admitted; what it came to is read when the span ends.</summary>
    public void Admitted(Generation generation) => _generation = generation;

    /// <summary>It ended before its answer did.</summary>
    public void Failed(Exception exception)
    {
        var gone = exception is OperationCanceledException;
        var error = ErrorResponse.Map(exception);
        _errorType = gone ? "client_closed_request" : error.Code ?? error.Type;
        if (!gone && error.Status >= 500)
        {
            _activity?.SetStatus(ActivityStatusCode.Error, error.Message);
        }
    }

    public void Dispose()
    {
        var tags = new TagList { { "gen_ai.operation.name", _operation }, { "gen_ai.provider.name", "sals" } };
        if (_call is not null)
        {
            tags.Add("gen_ai.request.model", _call.Model);
            tags.Add("gen_ai.response.model", _call.Model);
        }

        if (_generation is { } generation)
        {
            _errorType ??= generation.Failure is { } failure ? failure.Code ?? failure.Type : generation.Finished ? null : "client_closed_request";
            if (generation.Failure is { Status: >= 500 } serious)
            {
                _activity?.SetStatus(ActivityStatusCode.Error, serious.Message);
            }

            Outcome(generation, tags);
        }

        if (_errorType is not null)
        {
            tags.Add("error.type", _errorType);
            _activity?.SetTag("error.type", _errorType);
        }

        GenAiMeter.RequestEnded(_time.GetElapsedTime(_started), tags);
        _activity?.Dispose();
    }

    private void Outcome(Generation generation, in TagList tags)
    {
        foreach (var handle in generation.Handles)
        {
            var (trace, choices) = (handle.Trace, handle.Request.Choices);
            if (trace.FirstToken != 0)
            {
                GenAiMeter.FirstTokenAfter(_time.GetElapsedTime(trace.Arrived, trace.FirstToken), tags);
            }

            if (trace.GeneratedTokens > choices)
            {
                GenAiMeter.TokenEach(_time.GetElapsedTime(trace.FirstToken, trace.LastToken) * choices / (trace.GeneratedTokens - choices), tags);
            }
        }

        if (_activity is not { } activity)
        {
            return;
        }

        activity.SetTag("gen_ai.usage.output_tokens", generation.CompletionTokens);
        activity.SetTag("gen_ai.usage.cache_read.input_tokens", generation.CachedTokens);
        activity.SetTag("gen_ai.response.finish_reasons", generation.FinishReasons);
        if (generation.Handles.Count > 0 && generation.Handles[0].Trace is { FirstToken: not 0 } first)
        {
            activity.SetTag("gen_ai.latency.time_in_queue", Seconds(first.Arrived, first.Started));
            activity.SetTag("gen_ai.latency.time_to_first_token", Seconds(first.Arrived, first.FirstToken));
            activity.SetTag("gen_ai.latency.time_in_model_prefill", Seconds(first.Started, first.FirstToken));
            activity.SetTag("gen_ai.latency.time_in_model_decode", Seconds(first.FirstToken, first.LastToken));
            activity.SetTag("gen_ai.latency.e2e", Seconds(first.Arrived, first.LastToken));
        }
    }

    private double Seconds(long from, long to) => Math.Max(0, _time.GetElapsedTime(from, to).TotalSeconds);
}
