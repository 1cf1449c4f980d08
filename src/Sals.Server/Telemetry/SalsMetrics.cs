using System.Text;
using Sals.Engine;
using Sals.Engine.Backends;
using Sals.Engine.Paging;
using static Sals.Server.Telemetry.MetricFamily;

namespace Sals.Server.Telemetry;

/// <summary>
/// Everything GET /metrics shows, under vLLM's names, labels and buckets, with our own under <c>sals:</c>. What the engine counts is
/// read from <see cref="EngineStats"/> when scraped; what requests experience is observed here, one method a transition.
/// </summary>
public sealed class SalsMetrics
{
    private static readonly FinishReason[] Reasons = [FinishReason.Stop, FinishReason.Length, FinishReason.Abort, FinishReason.Error];

    private readonly List<MetricFamily> _families = [];
    private readonly TimeProvider _time;
    private readonly CounterFamily _finished;
    private readonly CounterFamily _rejected;
    private readonly HistogramFamily _firstToken;
    private readonly HistogramFamily _interToken;
    private readonly HistogramFamily _perOutputToken;
    private readonly HistogramFamily _endToEnd;
    private readonly HistogramFamily _queue;
    private readonly HistogramFamily _inference;
    private readonly HistogramFamily _prefill;
    private readonly HistogramFamily _decode;
    private readonly HistogramFamily _promptTokens;
    private readonly HistogramFamily _generationTokens;
    private readonly HistogramFamily _maxGenerationTokens;
    private readonly HistogramFamily _paramsMaxTokens;
    private readonly HistogramFamily _computedTokens;
    private readonly HistogramFamily _choices;

    public SalsMetrics(string model, EngineStats stats, BackendInfo info, bool prefixCaching, TimeProvider time)
    {
        _time = time;
        var common = Labels(("model_name", model), ("engine", "0"));
        string With(string name, string value) => Labels(("model_name", model), ("engine", "0"), (name, value));
        HistogramFamily Histogram(string name, string help, double[] bounds) => Add(new HistogramFamily("vllm:" + name, help, common, bounds));
        void Read(string name, string type, string help, Func<double> read) => Add(new ReadFamily(name, type, help, (common, read)));

        Read("vllm:num_requests_running", "gauge", "Requests in the batch.", () => stats.Running);
        Read("vllm:num_requests_waiting", "gauge", "Requests that wait to be scheduled.", () => stats.Waiting);
        Add(new ReadFamily("vllm:num_requests_waiting_by_reason", "gauge", "Waiting requests: for room, or for an identical prefix being computed.",
            (With("reason", "capacity"), () => Math.Max(0, stats.Waiting - stats.Deferred)),
            (With("reason", "deferred"), () => stats.Deferred)));
        Read("vllm:kv_cache_usage_perc", "gauge", "Share of the cache that live sequences hold, 0 to 1.",
            () => stats.CacheBytesTotal > 0 ? (double)stats.CacheBytesUsed / stats.CacheBytesTotal : 0);
        Add(new ReadFamily("vllm:cache_config_info", "gauge", "Settings of the cache.", (CacheLabels(info, prefixCaching), () => 1)));
        Read("vllm:num_preemptions_total", "counter", "Times a request gave up its pages.", () => stats.Preemptions);
        Read("vllm:prompt_tokens_total", "counter", "Prompt tokens of requests.", () => stats.PromptTokens);
        Read("vllm:generation_tokens_total", "counter", "Tokens generated.", () => stats.GeneratedTokens);
        Add(new ReadFamily("vllm:prompt_tokens_by_source_total", "counter", "Prompt tokens by where their keys and values came from.",
            (With("source", "local_compute"), () => Math.Max(0, stats.PromptTokens - stats.CachedPromptTokens)),
            (With("source", "local_cache_hit"), () => stats.CachedPromptTokens),
            (With("source", "external_kv_transfer"), () => 0)));
        Read("vllm:prompt_tokens_cached_total", "counter", "Prompt tokens taken from the prefix cache.", () => stats.CachedPromptTokens);
        Read("vllm:prompt_tokens_recomputed_total", "counter", "Tokens computed again after a preemption.", () => stats.RecomputedTokens);
        Read("vllm:prefix_cache_queries_total", "counter", "Tokens looked up in the prefix cache.", () => stats.PrefixQueries);
        Read("vllm:prefix_cache_hits_total", "counter", "Tokens found in the prefix cache.", () => stats.PrefixHits);
        // names that dashboards made for older releases of vLLM still query
        Read("vllm:gpu_prefix_cache_queries_total", "counter", "As prefix_cache_queries_total.", () => stats.PrefixQueries);
        Read("vllm:gpu_prefix_cache_hits_total", "counter", "As prefix_cache_hits_total.", () => stats.PrefixHits);
        _finished = Add(new CounterFamily("vllm:request_success_total", "Choices that ended, by reason.",
            [.. Reasons.Select(reason => With("finished_reason", Name(reason)))]));
        _rejected = Add(new CounterFamily("vllm:admission_rejections_total", "Requests refused because the queue was full.", common));

        _firstToken = Histogram("time_to_first_token_seconds", "From arrival to the first token.", MetricBuckets.TimeToFirstToken);
        _interToken = Histogram("inter_token_latency_seconds", "Between tokens of a choice.", MetricBuckets.InterToken);
        _perOutputToken = Histogram("request_time_per_output_token_seconds", "Mean time between a request's tokens.", MetricBuckets.InterToken);
        _endToEnd = Histogram("e2e_request_latency_seconds", "From arrival to the last token.", MetricBuckets.RequestTime);
        _queue = Histogram("request_queue_time_seconds", "From arrival to the first prefill.", MetricBuckets.RequestTime);
        _inference = Histogram("request_inference_time_seconds", "From the first prefill to the last token.", MetricBuckets.RequestTime);
        _prefill = Histogram("request_prefill_time_seconds", "From the first prefill to the first token.", MetricBuckets.RequestTime);
        _decode = Histogram("request_decode_time_seconds", "From the first token to the last.", MetricBuckets.RequestTime);
        var tokens = MetricBuckets.OneTwoFive(info.MaxModelLength);
        _promptTokens = Histogram("request_prompt_tokens", "Prompt tokens of a request.", tokens);
        _generationTokens = Histogram("request_generation_tokens", "Tokens generated for a request.", tokens);
        _maxGenerationTokens = Histogram("request_max_num_generation_tokens", "Token limit of a request, all of its choices.", tokens);
        _paramsMaxTokens = Histogram("request_params_max_tokens", "max_tokens of a request.", tokens);
        _computedTokens = Histogram("request_prefill_kv_computed_tokens", "Prompt tokens of a request that were computed.", tokens);
        _choices = Histogram("request_params_n", "Choices of a request.", MetricBuckets.Choices);

        Add(new ReadHistogramFamily("vllm:iteration_tokens_total", "Tokens of a step: rows decoded and prompt tokens begun.", common,
            TokenHistogram.Bounds.Select(bound => (double)bound), stats.StepTokens.Count, () => stats.StepTokens.Sum));
        _families.AddRange(EngineFamilies.Of(model, stats, info));
        _families.AddRange(ProcessFamilies.All());
    }

    public static string Name(FinishReason reason) => reason.ToString().ToLowerInvariant();

    public void Rejected() => _rejected.Add();

    /// <summary>A later token of a choice reached the request's task.</summary>
    public void TokenAfter(TimeSpan previous) => _interToken.Observe(previous.TotalSeconds);

    public void ChoiceFinished(FinishReason reason) => _finished.Add(Array.IndexOf(Reasons, reason));

    /// <summary>A request's stream has ended; choices that were aborted or failed are in the counters, not in the times.</summary>
    public void RequestFinished(GenerationRequest request, GenerationTrace trace, bool completed)
    {
        _promptTokens.Observe(request.Prompt.Length);
        _generationTokens.Observe(trace.GeneratedTokens);
        _paramsMaxTokens.Observe(request.MaxTokens);
        _maxGenerationTokens.Observe((long)request.MaxTokens * request.Choices);
        _choices.Observe(request.Choices);
        if (!completed || trace.FirstToken == 0)
        {
            return;
        }

        _computedTokens.Observe(request.Prompt.Length - trace.CachedTokens);
        _firstToken.Observe(Seconds(trace.Arrived, trace.FirstToken));
        _endToEnd.Observe(Seconds(trace.Arrived, trace.LastToken));
        _queue.Observe(Seconds(trace.Arrived, trace.Started));
        _inference.Observe(Seconds(trace.Started, trace.LastToken));
        _prefill.Observe(Seconds(trace.Started, trace.FirstToken));
        _decode.Observe(Seconds(trace.FirstToken, trace.LastToken));
        if (trace.GeneratedTokens > request.Choices)
        {
            _perOutputToken.Observe(Seconds(trace.FirstToken, trace.LastToken) * request.Choices / (trace.GeneratedTokens - request.Choices));
        }
    }

    public string Write()
    {
        var text = new StringBuilder(16 << 10);
        foreach (var family in _families)
        {
            family.Write(text);
        }

        return text.ToString();
    }

    private static string CacheLabels(BackendInfo info, bool prefixCaching)
    {
        var pageBytes = info.PageBytes.Max();
        return Labels(
            ("engine", "0"),
            ("block_size", $"{PageLayout.PageSize}"),
            ("num_gpu_blocks", $"{(pageBytes > 0 ? info.CacheBytes / pageBytes : 0)}"),
            ("num_cpu_blocks", "0"),
            ("enable_prefix_caching", prefixCaching ? "True" : "False"),
            ("device", info.Name));
    }

    private double Seconds(long from, long to) => Math.Max(0, _time.GetElapsedTime(from, to).TotalSeconds);

    private T Add<T>(T family)
        where T : MetricFamily
    {
        _families.Add(family);
        return family;
    }
}
