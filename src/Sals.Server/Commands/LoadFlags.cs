using System.CommandLine;
using System.Globalization;
using System.Text.Json;
using Sals.Server.Hosting;
using Sals.Server.Load;

namespace Sals.Server.Commands;

/// <summary>The options of sals load, named as those of vllm bench serve where it has them.</summary>
internal sealed class LoadFlags
{
    private readonly Option<string> _baseUrl = Text("--base-url", "URL", "http://127.0.0.1:8000", "Server to load: scheme, host and port; a /v1 at the end is left out.");
    private readonly Option<string> _backend = Text("--backend", "API", "openai", "openai: token ids to /v1/completions, prompts of exact length; openai-chat: words to /v1/chat/completions.");
    private readonly Option<string?> _model = new("--model") { HelpName = "NAME", Description = "Model to ask for; not set = the first of GET /v1/models." };
    private readonly Option<string?> _apiKey = new("--api-key") { HelpName = "KEY", Description = "Sent as Authorization: Bearer KEY; not set = OPENAI_API_KEY of the environment." };
    private readonly Option<int> _requests = Number("--num-prompts", 1000, "Requests to send.");
    private readonly Option<string> _rate = Text("--request-rate", "R", "inf", "Requests due a second, on a schedule that no answer delays; inf = at once, or as --max-concurrency lets.");
    private readonly Option<double> _burstiness = new("--burstiness") { HelpName = "B", DefaultValueFactory = _ => 1, Description = "Shape of the gamma distribution between arrivals: 1 = Poisson, below 1 = bursts, above 1 = even." };
    private readonly Option<int?> _concurrency = new("--max-concurrency") { HelpName = "N", Description = "Most requests in flight; with a rate those beyond it wait here, and their latency counts from when they were due." };
    private readonly Option<int> _input = Number("--random-input-len", 1024, "Tokens of a prompt behind its prefix (words with openai-chat).");
    private readonly Option<int> _output = Number("--random-output-len", 128, "Most tokens of an answer.");
    private readonly Option<double> _ratio = new("--random-range-ratio") { HelpName = "R", DefaultValueFactory = _ => 0, Description = "Both lengths are uniform between (1-R) and (1+R) times; from 0 to below 1." };
    private readonly Option<int> _prefix = Number("--random-prefix-len", 0, "Tokens that prompts begin with in common.", least: 0);
    private readonly Option<int> _prefixes = Number("--num-prefixes", 1, "Different common beginnings, taken in turn.");
    private readonly Option<int> _vocabulary = Number("--vocab-size", 8192, "Token ids are drawn from 16 to below this.", least: 17);
    private readonly Option<bool> _ignoreEnd = new("--ignore-eos") { Description = "Ask for answers of full length (vLLM, SGLang, Sals)." };
    private readonly Option<bool> _noContinuous = new("--no-continuous-usage") { Description = "Leave continuous_usage_stats out of stream_options, for servers that refuse it; events with text then count as one token." };
    private readonly Option<string?> _extra = new("--extra-body") { HelpName = "JSON", Description = "Object whose fields are added to every request." };
    private readonly Option<string[]> _goodput = new("--goodput") { HelpName = "METRIC:MS", AllowMultipleArgumentsPerToken = true, Description = "Count requests that keep these: ttft:MS, tpot:MS, e2el:MS." };
    private readonly Option<long> _seed = new("--seed") { HelpName = "N", DefaultValueFactory = _ => 0, Description = "Prompts, lengths and arrivals follow from it. The same seed twice finds the first run's prompts in a prefix cache." };
    private readonly Option<int> _warmups = Number("--num-warmups", 1, "Requests before the clock starts; if one fails the run ends.", least: 0);
    private readonly Option<int> _wait = Number("--ready-check-timeout-sec", 0, "How long to wait for a server that does not answer yet.", least: 0);
    private readonly Option<int> _timeout = Number("--request-timeout-sec", 3600, "Seconds after which a request counts as failed.");
    private readonly Option<string> _metrics = Text("--percentile-metrics", "LIST", "ttft,tpot,itl,e2el", "Latencies in the table.");
    private readonly Option<string> _percentiles = Text("--metric-percentiles", "LIST", "50,90,95,99", "Percentiles of each latency.");

    public Option<string?> SaveResult { get; } = new("--save-result") { HelpName = "FILE", Description = "Write the figures as JSON." };

    public Option<bool> SaveDetailed { get; } = new("--save-detailed") { Description = "Add the times of each request to the JSON." };

    public Option<string?> Plot { get; } = new("--plot") { HelpName = "FILE.html", Description = "Write a page with latency over time and its distribution." };

    public Option<bool> Json { get; } = new("--json") { Description = "Print the JSON instead of tables." };

    public void AddTo(Command command)
    {
        foreach (var option in new Option[]
        {
            _baseUrl, _backend, _model, _apiKey, _requests, _rate, _burstiness, _concurrency, _input, _output, _ratio, _prefix, _prefixes, _vocabulary, _ignoreEnd,
            _noContinuous, _extra, _goodput, _seed, _warmups, _wait, _timeout, _metrics, _percentiles, SaveResult, SaveDetailed, Plot, Json,
        })
        {
            command.Options.Add(option);
        }
    }

    /// <exception cref="SettingException">A value is wrong.</exception>
    public LoadOptions Read(ParseResult parsed)
    {
        var ratio = parsed.GetValue(_ratio);
        var burstiness = parsed.GetValue(_burstiness);
        var concurrency = parsed.GetValue(_concurrency);
        Require(ratio is >= 0 and < 1, $"--random-range-ratio: expected a number from 0 to below 1, found {ratio}");
        Require(burstiness is > 0 and <= 1e6, $"--burstiness: expected a number above 0, found {burstiness}");
        Require(concurrency is null or > 0, $"--max-concurrency: expected a whole number of at least 1, found {concurrency}");
        _ = Percentiles(parsed);
        _ = Metrics(parsed);
        return new LoadOptions
        {
            BaseUrl = Url(parsed.GetValue(_baseUrl)!),
            Api = parsed.GetValue(_backend) switch
            {
                "openai" or "vllm" => LoadApi.Completions,
                "openai-chat" => LoadApi.Chat,
                var other => throw new SettingException($"--backend: expected openai or openai-chat, found {other}"),
            },
            Model = parsed.GetValue(_model),
            ApiKey = parsed.GetValue(_apiKey) ?? Environment.GetEnvironmentVariable("OPENAI_API_KEY"),
            Requests = parsed.GetValue(_requests),
            RequestRate = Rate(parsed.GetValue(_rate)!),
            Burstiness = burstiness,
            MaxConcurrency = concurrency,
            InputLength = parsed.GetValue(_input),
            OutputLength = parsed.GetValue(_output),
            RangeRatio = ratio,
            PrefixLength = parsed.GetValue(_prefix),
            Prefixes = parsed.GetValue(_prefixes),
            VocabularySize = parsed.GetValue(_vocabulary),
            IgnoreEndToken = parsed.GetValue(_ignoreEnd),
            ContinuousUsage = !parsed.GetValue(_noContinuous),
            ExtraBody = Extra(parsed.GetValue(_extra)),
            Goals = [.. (parsed.GetValue(_goodput) ?? []).Select(Goal)],
            Seed = parsed.GetValue(_seed),
            Warmups = parsed.GetValue(_warmups),
            WaitForServer = TimeSpan.FromSeconds(parsed.GetValue(_wait)),
            Timeout = TimeSpan.FromSeconds(parsed.GetValue(_timeout)),
        };
    }

    public double[] Percentiles(ParseResult parsed) => [.. parsed.GetValue(_percentiles)!.Split(',').Select(part =>
        double.TryParse(part, NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var percent) && percent <= 100
            ? percent : throw new SettingException($"--metric-percentiles: expected numbers from 0 to 100 separated by commas, found {part}"))];

    public LoadMetric[] Metrics(ParseResult parsed) => [.. parsed.GetValue(_metrics)!.Split(',').Select(part => Metric("--percentile-metrics", part))];

    private static LoadGoal Goal(string text)
    {
        var parts = text.Split(':');
        Require(parts.Length == 2, $"--goodput: expected METRIC:MS such as ttft:500, found {text}");
        var metric = Metric("--goodput", parts[0]);
        Require(metric != LoadMetric.Itl, $"--goodput: expected ttft, tpot or e2el, found {parts[0]}");
        return new LoadGoal(metric, double.TryParse(parts[1], NumberStyles.AllowDecimalPoint, CultureInfo.InvariantCulture, out var milliseconds)
            ? milliseconds : throw new SettingException($"--goodput: expected milliseconds behind {parts[0]}:, found {parts[1]}"));
    }

    private static LoadMetric Metric(string flag, string name) => Enum.TryParse<LoadMetric>(name, ignoreCase: true, out var metric) && !char.IsDigit(name[0])
        ? metric : throw new SettingException($"{flag}: expected ttft, tpot, itl or e2el, found {name}");

    private static double Rate(string text) => text == "inf" ? double.PositiveInfinity
        : double.TryParse(text, NumberStyles.Float, CultureInfo.InvariantCulture, out var rate) && rate > 0 && double.IsFinite(rate) ? rate
        : throw new SettingException($"--request-rate: expected a number above 0, or inf, found {text}");

    private static string Url(string text)
    {
        var bare = text.TrimEnd('/');
        bare = bare.EndsWith("/v1", StringComparison.Ordinal) ? bare[..^3] : bare;
        return Uri.TryCreate(bare, UriKind.Absolute, out var url) && url.Scheme is "http" or "https"
            ? bare : throw new SettingException($"--base-url: expected a URL such as http://127.0.0.1:8000, found {text}");
    }

    private static JsonElement? Extra(string? text)
    {
        if (text is null)
        {
            return null;
        }

        try
        {
            using var document = JsonDocument.Parse(text);
            return document.RootElement.ValueKind == JsonValueKind.Object ? document.RootElement.Clone() : throw new SettingException("--extra-body: expected a JSON object");
        }
        catch (JsonException exception)
        {
            throw new SettingException($"--extra-body: expected a JSON object: {exception.Message}");
        }
    }

    private static void Require(bool holds, FormattableString problem)
    {
        if (!holds)
        {
            throw new SettingException(problem.ToString(CultureInfo.InvariantCulture));
        }
    }

    private static Option<string> Text(string name, string valueName, string standard, string description) =>
        new(name) { HelpName = valueName, DefaultValueFactory = _ => standard, Description = description };

    private static Option<int> Number(string name, int standard, string description, int least = 1)
    {
        var option = new Option<int>(name) { HelpName = "N", DefaultValueFactory = _ => standard, Description = description };
        option.Validators.Add(result =>
        {
            if (result.Errors.Any() || result.GetValueOrDefault<int>() < least)
            {
                result.AddError($"{name}: expected a whole number of at least {least}.");
            }
        });
        return option;
    }
}
