using Sals.Engine.Latent;
using Sals.Engine.Models;
using static Sals.Server.Options.SettingParsers;

namespace Sals.Server.Options;

/// <summary>The one table of settings: it drives parsing, help, environment, configuration, printing and the documentation's test.</summary>
public static class Settings
{
    public static readonly Setting<string?> Model = Optional("model", "MODEL", text => text,
        "Folder of a Hugging Face checkpoint, or a Hub name found in the local cache; not set = the embedded model.");

    public static readonly Setting<string[]> ServedModelName = List("served-model-name", "", "NAME",
        "Names under which clients ask for the model, the first is the one in answers; not set = MODEL as given.", Text);

    public static readonly Setting<DeviceChoice> Device = One("device", "auto", "DEVICE",
        "Where the model runs: auto (an NVIDIA GPU when there is one), cpu or cuda.", Word<DeviceChoice>);

    public static readonly Setting<DataType> Dtype = One("dtype", "auto", "TYPE",
        "Element type of exact keys and values: auto (float32 on the CPU, bfloat16 on CUDA), float32 or bfloat16.", Word<DataType>);

    public static readonly Setting<LoadFormat> LoadFormat = One("load-format", "auto", "FORMAT",
        "Where weights come from: auto (the folder's safetensors files) or dummy (random numbers in the shapes of its config.json, for measuring).", Word<LoadFormat>);

    public static readonly Setting<int?> MaxModelLen = One("max-model-len", "auto", "N",
        "Longest sequence, prompt and answer together, in tokens (8192, 32k); auto = what the model supports and memory holds.", TokensOrAuto);

    public static readonly Setting<string> GenerationConfig = One("generation-config", "auto", "SOURCE",
        "Sampling defaults when a request is silent: auto (the model's generation_config.json), vllm or none (OpenAI's defaults).",
        OneOf("auto", "vllm", "none"));

    public static readonly Setting<string?> ChatTemplate = Optional("chat-template", "FILE", SettingParsers.File,
        "File with a Jinja chat template to use instead of the model's own.");

    public static readonly Setting<string> ToolCallParser = One("tool-call-parser", "auto", "NAME",
        "How the model writes tool calls: hermes (Hermes, Qwen), llama3_json, mistral, or auto: recognised from the chat template.",
        OneOf("auto", "hermes", "llama3_json", "mistral"));

    public static readonly Setting<bool> EnableAutoToolChoice = Switch("enable-auto-tool-choice", true,
        "Let the model decide whether it calls a tool (tool_choice auto); off = only required and named calls.");

    public static readonly Setting<string> ReasoningParser = One("reasoning-parser", "auto", "NAME",
        "How reasoning is split from answers: qwen3 (what is between <think> and </think>), deepseek_r1 (everything before </think>), none, or auto: qwen3 where the chat template knows </think>.",
        OneOf("auto", "qwen3", "deepseek_r1", "none"));

    public static readonly Setting<bool> SkipTokenizerInit = Switch("skip-tokenizer-init", false,
        "Serve token ids only: no tokenizer is loaded and prompts must be lists of ids.");

    public static readonly Setting<ulong?> Seed = Optional<ulong?>("seed", "N", text => SettingParsers.Seed(text),
        "Makes the seeds of requests that bring none repeatable from one start to the next; not set = random.");

    public static readonly Setting<string> KvCache = One("kv-cache", "auto", "PRESET",
        "How keys and values are kept: sals-25 or sals-12.5 (compressed, needs a basis), dense (exact), or auto: sals-25 where there is a basis, else dense.",
        OneOf(["auto", .. LatentPresets.Names]));

    public static readonly Setting<string[]> Sals = List("sals", "", "KEY=VALUE",
        $"Changes one value of the compressed cache:\n{string.Join(";\n", LatentSpecParser.Keys.Select(key => $"{key.Key} = {key.Meaning}"))}.", Text);

    public static readonly Setting<string?> Basis = Optional("basis", "FILE", SettingParsers.File,
        "Basis file of the compressed cache, from sals calibrate; not set = sals-basis.safetensors in the model's folder, with basis_groups=N sals-basis-groups-N.safetensors.");

    public static readonly Setting<long?> KvCacheMemoryBytes = Optional<long?>("kv-cache-memory-bytes", "BYTES", text => Bytes(text),
        "Memory for keys and values (512MiB, 4GB); not set = from --gpu-memory-utilization on CUDA, on the CPU "
        + "what --max-num-seqs sequences of --max-model-len need, at most a quarter of the memory that is free.");

    public static readonly Setting<double> GpuMemoryUtilization = One("gpu-memory-utilization", "0.9", "SHARE",
        "Share of the GPU's memory that weights, cache and workspace may take together; unused on the CPU.", Number(0.05, 1));

    public static readonly Setting<bool> EnablePrefixCaching = Switch("enable-prefix-caching", true,
        "Reuse the cached pages of a prompt's beginning when another request begins the same way.");

    public static readonly Setting<int> MaxNumSeqs = One("max-num-seqs", "16", "N",
        "Sequences that are generated at the same time; more wait.", Integer(1, 1024));

    public static readonly Setting<int> MaxNumBatchedTokens = One("max-num-batched-tokens", "8192", "N",
        "Most prompt tokens of one layer that a step computes beside the running sequences.", Integer(64, 1 << 20));

    public static readonly Setting<int> MaxNumQueuedReqs = One("max-num-queued-reqs", "256", "N",
        "Sequences that may wait for one of --max-num-seqs; beyond it requests are answered with 429 and Retry-After.", Integer(0, 1 << 16));

    public static readonly Setting<string> Host = One("host", "127.0.0.1", "ADDRESS",
        "Address to listen on: 127.0.0.1 = this machine only, 0.0.0.0 = every interface (set --api-key then).", Text);

    public static readonly Setting<int> Port = One("port", "8000", "N",
        "Port to listen on; 0 = any free one, printed at start.", Integer(0, 65535));

    public static readonly Setting<string?> Uds = Optional("uds", "PATH", text => text,
        "Path of a Unix domain socket to listen on instead of --host and --port.");

    public static readonly Setting<string?> SslCertfile = Optional("ssl-certfile", "FILE", SettingParsers.File,
        "PEM file with the certificate (chain) to serve HTTPS with; needs --ssl-keyfile.");

    public static readonly Setting<string?> SslKeyfile = Optional("ssl-keyfile", "FILE", SettingParsers.File,
        "PEM file with the private key of --ssl-certfile.");

    public static readonly Setting<string[]> ApiKey = List("api-key", "", "KEY",
        "Keys of which a client must send one as Authorization: Bearer KEY on every route but /health; not set = open to everyone.",
        Text, secret: true);

    public static readonly Setting<string[]> AllowedOrigins = List("allowed-origins", "", "ORIGIN",
        "Origins whose web pages may call the server (CORS), * for any; not set = none.", Text);

    public static readonly Setting<long> MaxRequestBytes = One("max-request-bytes", "32MiB", "BYTES",
        "Largest request body; a longer one is answered with 413.", Bytes);

    public static readonly Setting<int> MaxLogprobs = One("max-logprobs", "20", "N",
        "Most log-probabilities a request may ask for at each token.", Integer(0, 20));

    public static readonly Setting<TimeSpan> SsePingInterval = One("sse-ping-interval", "15", "SECONDS",
        "A comment is sent on a stream that was silent for so long, so that proxies keep it open; 0 = never.", Seconds(0, 3600));

    public static readonly Setting<TimeSpan> ShutdownTimeout = One("shutdown-timeout", "30", "SECONDS",
        "How long running requests may go on after SIGTERM; a second signal ends them at once.", Seconds(0, 86400));

    public static readonly Setting<TimeSpan> WatchdogTimeout = One("watchdog-timeout", "60", "SECONDS",
        "A step of the model that does not end for so long is a hung device: requests end with an error, /health turns red, the process exits with 1.", Seconds(1, 86400));

    public static readonly Setting<Uri?> OtlpTracesEndpoint = Optional<Uri?>("otlp-traces-endpoint", "URL", Url,
        "Collector that gets a span of each generating request over OTLP (http://host:4318); not set = OTEL_EXPORTER_OTLP_(TRACES_)ENDPOINT, else none.");

    public static readonly Setting<Uri?> OtlpMetricsEndpoint = Optional<Uri?>("otlp-metrics-endpoint", "URL", Url,
        "Collector that gets gen_ai.server.* and runtime metrics over OTLP; not set = OTEL_EXPORTER_OTLP_(METRICS_)ENDPOINT, else none.");

    public static readonly Setting<string> LogLevel = One("log-level", "information", "LEVEL",
        "Least important messages to print: debug, information, warning or error.", OneOf("debug", "information", "warning", "error"));

    /// <summary>All settings in the order of help.</summary>
    public static readonly IReadOnlyList<Setting> All =
    [
        Model, ServedModelName, Device, Dtype, LoadFormat, MaxModelLen, GenerationConfig, ChatTemplate, ToolCallParser, EnableAutoToolChoice,
        ReasoningParser, SkipTokenizerInit, Seed,
        KvCache, Sals, Basis, KvCacheMemoryBytes, GpuMemoryUtilization, EnablePrefixCaching,
        MaxNumSeqs, MaxNumBatchedTokens, MaxNumQueuedReqs,
        Host, Port, Uds, SslCertfile, SslKeyfile, ApiKey, AllowedOrigins, MaxRequestBytes, MaxLogprobs,
        SsePingInterval, ShutdownTimeout, WatchdogTimeout, OtlpTracesEndpoint, OtlpMetricsEndpoint, LogLevel,
    ];

    private static string Text(string text) => text.Length > 0 ? text : throw new FormatException("a text that is not empty");

    private static Setting<T> One<T>(string name, string defaultText, string valueName, string sentence, Func<string, T> parse) =>
        new(name, SettingForm.Value, defaultText, valueName, sentence, texts => parse(texts[^1]));

    private static Setting<T?> Optional<T>(string name, string valueName, Func<string, T?> parse, string sentence) =>
        new(name, SettingForm.Value, "", valueName, sentence, texts => texts.Count == 0 || texts[^1].Length == 0 ? default : parse(texts[^1]));

    private static Setting<bool> Switch(string name, bool on, string sentence) =>
        new(name, SettingForm.Switch, on ? "true" : "false", "", sentence, texts => SettingParsers.Switch(texts[^1]));

    private static Setting<string[]> List(
        string name, string defaultText, string valueName, string sentence, Func<string, string> parse, bool secret = false) =>
        new(name, SettingForm.List, defaultText, valueName, sentence, texts => [.. texts.Where(text => text.Length > 0).Select(parse)])
        {
            Secret = secret,
        };
}
