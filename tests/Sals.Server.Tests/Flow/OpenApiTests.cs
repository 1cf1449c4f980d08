using System.Text.Json;
using Microsoft.AspNetCore.Routing;
using Microsoft.Extensions.Logging.Abstractions;
using Sals.Server.Api;
using Sals.Server.Hosting;
using Sals.Server.Options;
using Xunit;

namespace Sals.Server.Tests.Flow;

/// <summary>The hand-kept document says what the server does: routes, fields, and the shape of real answers.</summary>
public class OpenApiTests
{
    private static readonly JsonElement Document = JsonDocument.Parse(OpenApiRoute.Document).RootElement;

    [Fact]
    public async Task It_has_every_route_and_no_other()
    {
        await using var host = new EngineHost(_ => throw new InvalidOperationException(), SalsOptions.Default, TimeProvider.System, NullLogger.Instance);
        await using var app = ServerApp.Build(SalsOptions.Default, host, NullLoggerFactory.Instance);
        var routes = ((IEndpointRouteBuilder)app).DataSources.SelectMany(source => source.Endpoints).OfType<RouteEndpoint>()
            .SelectMany(route => route.Metadata.GetMetadata<HttpMethodMetadata>()!.HttpMethods.Select(method => $"{method} {route.RoutePattern.RawText!.Replace("**", "")}"));
        var documented = Document.GetProperty("paths").EnumerateObject()
            .SelectMany(path => path.Value.EnumerateObject().Select(method => $"{method.Name.ToUpperInvariant()} {path.Name}"));
        Assert.Equal(routes.Order(StringComparer.Ordinal), documented.Order(StringComparer.Ordinal));
        Assert.Equal(StateRoutes.Version, Document.GetProperty("info").GetProperty("version").GetString());
    }

    [Fact]
    public void It_has_every_field_of_a_request_and_no_other()
    {
        var chat = Schema("ChatRequest").GetProperty("properties").EnumerateObject().Select(property => property.Name).ToArray();
        var completion = Schema("CompletionRequest").GetProperty("properties").EnumerateObject().Select(property => property.Name).ToArray();
        Assert.Equal(RequestReader.KnownFields.Concat(FieldPolicy.Ignored).Order(StringComparer.Ordinal), chat.Union(completion).Order(StringComparer.Ordinal));
        var response = Schema("ResponseRequest").GetProperty("properties").EnumerateObject().Select(property => property.Name);
        Assert.Equal(ResponseReader.KnownFields.Concat(ResponseReader.Ignored).Order(StringComparer.Ordinal), response.Order(StringComparer.Ordinal));
    }

    [Fact]
    public void Every_reference_leads_somewhere()
    {
        void Visit(JsonElement element)
        {
            if (element.ValueKind == JsonValueKind.Object)
            {
                foreach (var property in element.EnumerateObject())
                {
                    if (property.Name == "$ref")
                    {
                        Resolve(property.Value.GetString()!);
                    }

                    Visit(property.Value);
                }
            }
            else if (element.ValueKind == JsonValueKind.Array)
            {
                element.EnumerateArray().ToList().ForEach(Visit);
            }
        }

        Visit(Document);
    }

    [Fact]
    public async Task Real_answers_fit_their_schemas()
    {
        await using var server = await TestServer.StartAsync();
        Assert.Equal(OpenApiRoute.Document, await server.Client.GetByteArrayAsync("/openapi.json"));
        const string chat = """{"messages":[{"role":"user","content":" 1"}],"max_tokens":3,"ignore_eos":true,"stop_token_ids":[9],"return_token_ids":true,"logprobs":true,"top_logprobs":2""";
        const string completion = """{"prompt":[1,2,3],"max_tokens":3,"ignore_eos":true,"logprobs":2,"echo":true,"return_token_ids":true""";
        const string streamed = ""","stream":true,"stream_options":{"include_usage":true}}""";
        await Fits("ChatCompletion", server.PostJsonAsync("/v1/chat/completions", chat + ",\"prompt_logprobs\":1}"));
        await Fits("Completion", server.PostJsonAsync("/v1/completions", completion + ",\"prompt_logprobs\":1}"));
        await Fits("Error", server.PostJsonAsync("/v1/completions", "{}", 400));
        await Fits("Tokens", server.PostJsonAsync("/tokenize", """{"prompt":" 1","return_token_strs":true}"""));
        await Fits("Text", server.PostJsonAsync("/detokenize", """{"tokens":[1]}"""));
        foreach (var (schema, path) in new[] { ("ModelList", "/v1/models"), ("Model", "/v1/models/fake"), ("Version", "/version"), ("Health", "/health") })
        {
            await Fits(schema, Task.FromResult(JsonDocument.Parse(await server.Client.GetStringAsync(path)).RootElement));
        }

        foreach (var (schema, path, body) in new[] { ("ChatCompletionChunk", "/v1/chat/completions", chat), ("Completion", "/v1/completions", completion) })
        {
            foreach (var text in (await server.StreamAsync(path, body + streamed)).SkipLast(1))
            {
                await Fits(schema, Task.FromResult(JsonDocument.Parse(text).RootElement));
            }
        }

        await using var scripted = await ScriptedServer.StartAsync(reasoning: Sals.Engine.Text.Answers.ReasoningStart.Optional);
        scripted.Says = "<think>a</think>b<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>";
        const string tools = "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]";
        await Fits("ChatCompletion", scripted.ChatAsync(tools));
        foreach (var chunk in await scripted.StreamAsync(tools))
        {
            await Fits("ChatCompletionChunk", Task.FromResult(chunk));
        }

        const string response = "{\"input\":\"hi\",\"top_logprobs\":1,\"tools\":[{\"type\":\"function\",\"name\":\"f\"}]";
        await Fits("Response", scripted.Server.PostJsonAsync("/v1/responses", response + "}"));
        foreach (var one in await scripted.EventsAsync(response + ",\"stream\":true}"))
        {
            await Fits("ResponseEvent", Task.FromResult(one.Data));
        }

        // the check itself must be able to fail
        Assert.NotNull(Mismatch(JsonDocument.Parse("""{"prompt":5}""").RootElement, Schema("Text"), ""));
        Assert.NotNull(Mismatch(JsonDocument.Parse("""{"prompt":"a","more":1}""").RootElement, Schema("Text"), ""));
        Assert.NotNull(Mismatch(JsonDocument.Parse("{}").RootElement, Schema("Text"), ""));
    }

    private static async Task Fits(string schema, Task<JsonElement> answer) => Assert.Null(Mismatch(await answer, Schema(schema), schema));

    private static JsonElement Schema(string name) => Document.GetProperty("components").GetProperty("schemas").GetProperty(name);

    private static JsonElement Resolve(string reference) => reference[2..].Split('/').Aggregate(Document, (element, part) => element.GetProperty(part));

    /// <summary>The first thing in which a value differs from a schema, of the keywords that the document uses for answers; null = it fits.</summary>
    private static string? Mismatch(JsonElement value, JsonElement schema, string path)
    {
        if (schema.TryGetProperty("$ref", out var reference))
        {
            return Mismatch(value, Resolve(reference.GetString()!), path);
        }

        if (schema.TryGetProperty("oneOf", out var options))
        {
            var misses = options.EnumerateArray().Select(option => Mismatch(value, option, path)).ToArray();
            return misses.Contains(null) ? null : string.Join(" or ", misses);
        }

        var kind = value.ValueKind switch
        {
            JsonValueKind.Object => "object",
            JsonValueKind.Array => "array",
            JsonValueKind.String => "string",
            JsonValueKind.Null => "null",
            JsonValueKind.Number => value.TryGetInt64(out _) ? "integer" : "number",
            _ => "boolean",
        };
        var types = !schema.TryGetProperty("type", out var type) ? [kind]
            : type.ValueKind == JsonValueKind.String ? [type.GetString()!] : type.EnumerateArray().Select(t => t.GetString()!).ToArray();
        if (!types.Contains(kind) && !(kind == "integer" && types.Contains("number")))
        {
            return $"{path} is {kind}, not {string.Join("/", types)}";
        }

        if ((schema.TryGetProperty("const", out var constant) && constant.GetString() != value.GetString())
            || (schema.TryGetProperty("enum", out var words) && !words.EnumerateArray().Any(word => word.GetString() == value.GetString())))
        {
            return $"{path} is {value}";
        }

        if (kind == "array")
        {
            return value.EnumerateArray().Select((item, i) => Mismatch(item, schema.GetProperty("items"), $"{path}[{i}]")).FirstOrDefault(miss => miss is not null);
        }

        if (kind != "object")
        {
            return null;
        }

        foreach (var name in schema.TryGetProperty("required", out var required) ? required.EnumerateArray().Select(n => n.GetString()!) : [])
        {
            if (!value.TryGetProperty(name, out _))
            {
                return $"{path}.{name} is missing";
            }
        }

        foreach (var property in value.EnumerateObject())
        {
            var miss = schema.TryGetProperty("properties", out var known) && known.TryGetProperty(property.Name, out var own) ? Mismatch(property.Value, own, $"{path}.{property.Name}")
                : !schema.TryGetProperty("additionalProperties", out var rest) || rest.ValueKind == JsonValueKind.True ? null
                : rest.ValueKind == JsonValueKind.False ? $"{path}.{property.Name} is unknown"
                : Mismatch(property.Value, rest, $"{path}.{property.Name}");
            if (miss is not null)
            {
                return miss;
            }
        }

        return null;
    }
}
