using System.ClientModel;
using System.ClientModel.Primitives;
using System.Diagnostics;
using System.Globalization;
using System.Text.Json;
using System.Text.RegularExpressions;
using OpenAI;
using OpenAI.Chat;
using Sals.Server.Hosting;
using Xunit;

namespace Sals.Server.Tests.Flow;

/// <summary>Answers of the embedded model that are held to a grammar, over HTTP.</summary>
public sealed class StructuredOutputTests : IAsyncLifetime
{
    private const string Ask = "\"messages\":[{\"role\":\"user\",\"content\":\"What is the capital of France?\"}]";
    private TestServer _server = null!;

    /// <summary>Field and value, and the path that the 400 names.</summary>
    private static readonly (string Field, string Path)[] Hostile =
    [
        ("\"response_format\":{}", "response_format.type"),
        ("\"response_format\":{\"type\":\"json_schema\"}", "response_format.json_schema"),
        ("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\",\"schema\":5}}", "response_format.json_schema.schema"),
        ("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"properties\":{\"a\":{\"uniqueItems\":true}}}}}", "response_format.json_schema.schema.properties.a.uniqueItems"),
        ("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"$ref\":\"#\"}}}", "response_format.json_schema.schema"),
        ("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"type\":\"string\",\"pattern\":\"(a{5000}){5000}\"}}}", "response_format.json_schema.schema"),
        ("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"schema\":{\"type\":\"string\",\"pattern\":\"(?<=x)\"}}}", "response_format.json_schema.schema.pattern"),
        ("\"structured_outputs\":{\"regex\":\"(\"}", "structured_outputs.regex"),
        ("\"structured_outputs\":{\"regex\":\"(((a{5000}){5000}){5000})\"}", "structured_outputs.regex"),
        ("\"structured_outputs\":{\"regex\":\"a\",\"choice\":[\"b\"]}", "structured_outputs.choice"),
        ("\"structured_outputs\":{\"choice\":[]}", "structured_outputs.choice"),
        ("\"structured_outputs\":{\"choice\":[\"\"]}", "structured_outputs.choice[0]"),
        ("\"structured_outputs\":{\"json\":\"{\"}", "structured_outputs.json"),
        ("\"structured_outputs\":{\"grammar\":\"root ::= x\"}", "structured_outputs.grammar"),
        ("\"structured_outputs\":{\"grammar\":\"root ::= root\"}", "structured_outputs.grammar"),
        ("\"structured_outputs\":{\"structural_tag\":\"{}\"}", "structured_outputs.structural_tag"),
        ("\"structured_outputs\":{\"regex\":\"a\"},\"response_format\":{\"type\":\"json_object\"}", "structured_outputs"),
        ("\"structured_outputs\":{\"regex\":\"a\"},\"bad_words\":[\"x\"]", "bad_words"),
        ("\"structured_outputs\":{\"regex\":\"a\"},\"allowed_token_ids\":[5]", "allowed_token_ids"),
        ("\"guided_regex\":\"a\"", "guided_regex"),
    ];

    public async ValueTask InitializeAsync() => _server = await TestServer.StartAsync(options => ModelOpener.Open(options, _ => { }));

    public ValueTask DisposeAsync() => _server.DisposeAsync();

    [Fact]
    public async Task What_cannot_be_kept_is_a_400_that_names_the_place()
    {
        foreach (var (field, path) in Hostile)
        {
            var started = Stopwatch.GetTimestamp();
            var error = (await _server.PostJsonAsync("/v1/chat/completions", $"{{{Ask},{field}}}", 400)).GetProperty("error");
            Assert.Equal(path, error.GetProperty("param").GetString());
            Assert.StartsWith(path, error.GetProperty("message").GetString());
            Assert.InRange(Stopwatch.GetElapsedTime(started).TotalSeconds, 0, 10);
        }

        await _server.QuietAsync();
    }

    [Fact]
    public async Task Answers_parse_and_have_the_schemas_form_at_every_temperature()
    {
        const string format = """
            "response_format":{"type":"json_schema","json_schema":{"name":"city","strict":true,"schema":{"type":"object","properties":{
            "name":{"type":"string","maxLength":12},"size":{"enum":["small","large"]},"people":{"type":"integer","minimum":1,"maximum":99},
            "tags":{"type":"array","items":{"type":"boolean"},"maxItems":3}},"required":["name","size","people","tags"],"additionalProperties":false}}}
            """;
        for (var seed = 0; seed < 20; seed++)
        {
            var temperature = (seed % 5 * 0.5).ToString(CultureInfo.InvariantCulture);
            var choice = await ChoiceAsync($"{format},\"temperature\":{temperature},\"seed\":{seed},\"max_tokens\":200");
            Assert.Equal("stop", choice.GetProperty("finish_reason").GetString());
            var city = JsonDocument.Parse(Content(choice)).RootElement;
            Assert.Equal(["name", "size", "people", "tags"], city.EnumerateObject().Select(property => property.Name));
            Assert.InRange(city.GetProperty("name").GetString()!.EnumerateRunes().Count(), 0, 12);
            Assert.Contains(city.GetProperty("size").GetString(), (string[])["small", "large"]);
            Assert.InRange(city.GetProperty("people").GetInt32(), 1, 99);
            Assert.InRange(city.GetProperty("tags").GetArrayLength(), 0, 3);
        }

        await _server.QuietAsync();
    }

    [Fact]
    public async Task Regex_choice_and_any_object_hold_streamed_and_whole_with_n_and_in_completions()
    {
        var whole = await ChoiceAsync("\"structured_outputs\":{\"regex\":\"[A-Z]{3}-\\\\d{4}\"},\"temperature\":1,\"seed\":3");
        Assert.Matches(new Regex("^[A-Z]{3}-[0-9]{4}$"), Content(whole));

        var events = await _server.StreamAsync(
            "/v1/chat/completions", $"{{{Ask},\"stream\":true,\"structured_outputs\":{{\"regex\":\"[A-Z]{{3}}-\\\\d{{4}}\"}},\"temperature\":1,\"seed\":3}}");
        var streamed = string.Concat(events.SkipLast(1).Select(data => JsonDocument.Parse(data).RootElement.GetProperty("choices")[0].GetProperty("delta"))
            .Select(delta => delta.TryGetProperty("content", out var text) ? text.GetString() : ""));
        Assert.Equal(Content(whole), streamed);

        var several = await _server.PostJsonAsync("/v1/chat/completions", $"{{{Ask},\"n\":4,\"structured_outputs\":{{\"choice\":[\"Paris\",\"Lyon\"]}},\"temperature\":2,\"min_tokens\":2}}");
        Assert.All(several.GetProperty("choices").EnumerateArray(), choice => Assert.Contains(Content(choice), (string[])["Paris", "Lyon"]));

        var completion = await _server.PostJsonAsync("/v1/completions", """{"prompt":"The city","max_tokens":60,"structured_outputs":{"json":"{\"type\":\"array\",\"items\":{\"type\":\"integer\"},\"maxItems\":3}"}}""");
        Assert.Equal(JsonValueKind.Array, JsonDocument.Parse(completion.GetProperty("choices")[0].GetProperty("text").GetString()!).RootElement.ValueKind);

        var ignoring = await ChoiceAsync("\"structured_outputs\":{\"choice\":[\"yes\"]},\"ignore_eos\":true,\"max_tokens\":50");
        Assert.Equal(("yes", "stop"), (Content(ignoring), ignoring.GetProperty("finish_reason").GetString()));

        var cut = await ChoiceAsync("\"response_format\":{\"type\":\"json_object\"},\"max_tokens\":1");
        Assert.Equal(("{", "length"), (Content(cut)[..1], cut.GetProperty("finish_reason").GetString()));
        await _server.QuietAsync();
    }

    [Fact]
    public async Task A_grammar_of_rules_holds_with_recursion_and_calls_are_made_where_they_are_required()
    {
        var nested = "\"structured_outputs\":{\"grammar\":" + JsonSerializer.Serialize("root ::= \"<\" (root | [a-c]{1,3}) \">\" # nested\n") + "}";
        for (var seed = 0; seed < 5; seed++)
        {
            var text = Content(await ChoiceAsync($"{nested},\"temperature\":1.5,\"seed\":{seed},\"max_tokens\":300"));
            Assert.Matches(new Regex("^(?<open><)+[a-c]{1,3}(?<-open>>)+(?(open)(?!))$"), text);
        }

        const string tools = "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"add\",\"parameters\":{\"type\":\"object\",\"properties\":{\"a\":{\"type\":\"integer\",\"minimum\":0,\"maximum\":99},\"b\":{\"type\":\"boolean\"}},\"required\":[\"a\",\"b\"]}}}]";
        foreach (var several in (string[])["true", "false"])
        {
            var choice = await ChoiceAsync($"{tools},\"tool_choice\":\"required\",\"parallel_tool_calls\":{several},\"seed\":1,\"max_tokens\":400");
            var calls = choice.GetProperty("message").GetProperty("tool_calls").EnumerateArray().ToArray();
            Assert.True(several == "true" || calls.Length == 1);
            Assert.InRange(JsonDocument.Parse(calls[0].GetProperty("function").GetProperty("arguments").GetString()!).RootElement.GetProperty("a").GetInt32(), 0, 99);
        }

        var auto = (await _server.PostJsonAsync("/v1/chat/completions", $"{{{Ask},{tools}}}", 400)).GetProperty("error");
        Assert.Equal("tool_choice", auto.GetProperty("param").GetString());
        var response = await _server.PostJsonAsync("/v1/responses", """{"input":"Sure?","text":{"format":{"type":"json_schema","name":"s","schema":{"type":"object","properties":{"sure":{"type":"boolean"}},"required":["sure"]}}}}""");
        Assert.Equal("completed", response.GetProperty("status").GetString());
    }

    [Fact]
    public async Task The_dotnet_SDK_gets_JSON_that_fits_its_schema()
    {
        var client = new ChatClient("sals-tiny", new ApiKeyCredential("key"), new OpenAIClientOptions { Endpoint = new Uri(_server.Address, "v1"), RetryPolicy = new ClientRetryPolicy(0) });
        var options = new ChatCompletionOptions
        {
            MaxOutputTokenCount = 300,
            ResponseFormat = ChatResponseFormat.CreateJsonSchemaFormat("answer", BinaryData.FromString(
                """{"type":"object","properties":{"answer":{"type":"string","maxLength":20},"sure":{"type":"boolean"}},"required":["answer","sure"],"additionalProperties":false}"""), jsonSchemaIsStrict: true),
        };
        ChatCompletion answer = await client.CompleteChatAsync([new UserChatMessage("What is the capital of France?")], options);
        var json = JsonDocument.Parse(answer.Content[0].Text).RootElement;
        Assert.Equal(JsonValueKind.String, json.GetProperty("answer").ValueKind);
        Assert.Contains(json.GetProperty("sure").ValueKind, (JsonValueKind[])[JsonValueKind.True, JsonValueKind.False]);
        Assert.Equal(ChatFinishReason.Stop, answer.FinishReason);
    }

    private async Task<JsonElement> ChoiceAsync(string fields) => (await _server.PostJsonAsync("/v1/chat/completions", $"{{{Ask},{fields}}}")).GetProperty("choices")[0];

    private static string Content(JsonElement choice) => choice.GetProperty("message").GetProperty("content").GetString()!;
}
