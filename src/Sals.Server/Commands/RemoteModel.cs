using System.CommandLine;
using System.Net.Http.Headers;
using System.Text.Json;
using System.Text.Json.Nodes;
using Sals.Engine;
using Sals.Engine.Evaluation;
using Sals.Engine.Evaluation.Results;
using Sals.Engine.Text;

namespace Sals.Server.Commands;

/// <summary>Flags of a run against a server.</summary>
internal sealed class RemoteOptions
{
    private readonly Option<Uri?> _address = new("--base-url")
    {
        HelpName = "URL",
        Description = "Ask this OpenAI-compatible server (…/v1) instead; --model still gives tokenizer and chat template.",
    };

    private readonly Option<string?> _name = new("--served-model") { HelpName = "NAME", Description = "The model's name on the server; not set = the first of its list." };
    private readonly Option<string?> _label = new("--label") { HelpName = "NAME", Description = "What tables call the server; not set = its address." };

    private readonly Option<bool> _chat = new("--chat")
    {
        Description = "Send messages to /chat/completions, the answer's beginning behind the question, instead of token ids to /completions.",
    };

    private readonly Option<int> _concurrency = EvalOptions.Count("--concurrency", 16, "Requests at once at the server.");

    public void AddTo(Command command)
    {
        foreach (var option in new Option[] { _address, _name, _label, _chat, _concurrency })
        {
            command.Options.Add(option);
        }
    }

    /// <summary>Null without --base-url.</summary>
    public RemoteModel? Read(ParseResult parsed) => parsed.GetValue(_address) is { } address
        ? new RemoteModel(address, parsed.GetValue(_name), parsed.GetValue(_label) ?? address.ToString(), parsed.GetValue(_chat), parsed.GetValue(_concurrency))
        : null;
}

/// <summary>A model behind an OpenAI-compatible API. The key is taken from OPENAI_API_KEY.</summary>
internal sealed class RemoteModel(Uri address, string? name, string label, bool chat, int concurrency)
{
    private static readonly HttpClient Client = new() { Timeout = TimeSpan.FromMinutes(30) };
    private string? _name = name;

    public string Label => label;

    /// <summary>For reports.</summary>
    public string Address => $"{address}, {(chat ? "messages" : "token ids")}";

    /// <param name="take">Told every scored answer, from any thread.</param>
    /// <exception cref="EvalException">The server refused, or answered something else.</exception>
    public async Task AnswerAsync(IReadOnlyList<EvalItem> items, Action<EvalItem, EvalResult> take, Tokenizer tokenizer, CancellationToken stop)
    {
        _name ??= (await SendAsync(HttpMethod.Get, "models", null, stop))["data"]?[0]?["id"]?.GetValue<string>() ?? throw new EvalException($"{address}: the list of models is empty.");
        await Parallel.ForEachAsync(items, new ParallelOptions { MaxDegreeOfParallelism = concurrency, CancellationToken = stop }, async (item, cancel) =>
        {
            var body = new JsonObject { ["model"] = _name, ["temperature"] = 0, ["max_tokens"] = item.MaxTokens };
            if (chat)
            {
                body["messages"] = new JsonArray(new JsonObject { ["role"] = "user", ["content"] = item.Message + item.AnswerPrefix });
            }
            else
            {
                body["prompt"] = new JsonArray([.. item.Prompt.Select(id => JsonValue.Create(id))]);
            }

            var answer = await SendAsync(HttpMethod.Post, chat ? "chat/completions" : "completions", body, cancel);
            var choice = answer["choices"]?[0];
            var text = (chat ? choice?["message"]?["content"] : choice?["text"])?.GetValue<string>() ?? throw new EvalException($"{address}: an answer without text: {answer.ToJsonString()}");
            var tokens = tokenizer.Encode(text, addSpecialTokens: false, parseSpecialTokens: false);
            var generated = answer["usage"]?["completion_tokens"]?.GetValue<int>() ?? tokens.Count;
            take(item, EvalResult.Of(
                label, item, new EvalAnswer([.. tokens], choice?["finish_reason"]?.GetValue<string>() == "stop", [], new GenerationTrace { GeneratedTokens = generated }), text));
        });
    }

    private async Task<JsonNode> SendAsync(HttpMethod method, string path, JsonObject? body, CancellationToken stop)
    {
        using var request = new HttpRequestMessage(method, new Uri($"{address.ToString().TrimEnd('/')}/{path}"));
        if (Environment.GetEnvironmentVariable("OPENAI_API_KEY") is { Length: > 0 } key)
        {
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", key);
        }

        request.Content = body is null ? null : JsonContent.Create(body);
        try
        {
            using var response = await Client.SendAsync(request, stop);
            var text = await response.Content.ReadAsStringAsync(stop);
            return response.IsSuccessStatusCode
                ? JsonNode.Parse(text) ?? throw new EvalException($"{request.RequestUri}: an empty answer.")
                : throw new EvalException($"{request.RequestUri}: {(int)response.StatusCode} {text}");
        }
        catch (Exception e) when (e is HttpRequestException or JsonException)
        {
            throw new EvalException($"{request.RequestUri}: {e.Message}");
        }
    }
}
