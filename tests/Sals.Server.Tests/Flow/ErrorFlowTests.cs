using System.Net;
using System.Text;
using System.Text.Json;
using Sals.Testing;
using Xunit;

namespace Sals.Server.Tests.Flow;

/// <summary>Refusals over real Kestrel: status, OpenAI body, headers.</summary>
public class ErrorFlowTests
{
    [Fact]
    public async Task Errors_have_OpenAIs_body_and_codes()
    {
        await using var server = await TestServer.StartAsync(options => options with { MaxRequestBytes = 4096 });
        var chat = "/v1/chat/completions";
        await Check(server.PostAsync(chat, "{"), 400, null, null);
        await Check(server.PostAsync(chat, "[]"), 400, null, null);
        await Check(server.PostAsync(chat, "{\"a\":1,\"a\":2}"), 400, null, null);
        await Check(server.PostAsync(chat, "{\"\\ud800\":1,\"messages\":[]}"), 400, null, null);
        await Check(server.PostAsync(chat, new string('[', 3000)), 400, null, null);
        await Check(server.PostAsync(chat, "{\"model\":\"nope\",\"messages\":[]}"), 404, "model_not_found", "model");
        await Check(server.PostAsync(chat, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"temperature\":9}"), 400, null, "temperature");
        await Check(server.PostAsync(chat, "{\"x\":\"" + new string('a', 5000) + "\"}"), 413, "request_too_large", null);
        await Check(server.Client.PostAsync(chat, new StringContent("{}", Encoding.UTF8, "text/plain")), 415, "unsupported_media_type", null);
        await Check(server.Client.GetAsync(chat), 405, "method_not_allowed", null);
        await Check(server.Client.GetAsync("/v2/nothing"), 404, "unknown_url", null);
        await Check(server.Client.GetAsync("/v1/models/other"), 404, "model_not_found", "model");
        await Check(server.PostAsync("/tokenize", "{}"), 400, null, "prompt");
        await Check(server.PostAsync("/detokenize", "{\"tokens\":[5000]}"), 400, null, "tokens[0]");
        await Check(server.PostAsync(chat, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"chat_template_kwargs\":{\"a\\nb\":1}}"), 400, "unsupported_parameter", "chat_template_kwargs.a\nb");
        Assert.DoesNotContain(server.Logs.Lines, line => line.Contains("Unexpected failure"));

        // each has its line, and what the client sent cannot begin another
        Assert.Single(server.Logs.Lines, line => line.EndsWith(" /v1/chat/completions refused 404 model_not_found model "));
        Assert.Single(server.Logs.Lines, line => line.EndsWith(" /v1/chat/completions refused 413 request_too_large - "));
        Assert.Single(server.Logs.Lines, line => line.EndsWith(" refused 400 unsupported_parameter chat_template_kwargs.a?b "));
    }

    [Fact]
    public async Task Models_version_tokenize_and_detokenize()
    {
        await using var server = await TestServer.StartAsync();
        var models = JsonDocument.Parse(await server.Client.GetStringAsync("/v1/models")).RootElement;
        Assert.Equal("list", models.GetProperty("object").GetString());
        Assert.Equal("fake", models.GetProperty("data")[0].GetProperty("id").GetString());
        Assert.Equal(1024, models.GetProperty("data")[0].GetProperty("max_model_len").GetInt32());
        var one = JsonDocument.Parse(await server.Client.GetStringAsync("/v1/models/org/alias")).RootElement;
        Assert.Equal("org/alias", one.GetProperty("id").GetString());
        Assert.Equal("0.1.0", JsonDocument.Parse(await server.Client.GetStringAsync("/version")).RootElement.GetProperty("version").GetString());
        var tokens = await server.PostJsonAsync("/tokenize", """{"prompt":" 12 13","return_token_strs":true}""");
        Assert.Equal(2, tokens.GetProperty("count").GetInt32());
        Assert.Equal(" 13", tokens.GetProperty("token_strs")[1].GetString());
        Assert.Equal(" 12 13", (await server.PostJsonAsync("/detokenize", """{"tokens":[12,13]}""")).GetProperty("prompt").GetString());
    }

    [Fact]
    public async Task With_keys_every_route_but_health_is_denied_without_one()
    {
        await using var server = await TestServer.StartAsync(options => options with { ApiKeys = ["good", "better"] });
        foreach (var path in new[] { "/v1/models", "/metrics", "/version", "/", "/health/x", "/HEALTH", "/v1/chat/completions" })
        {
            using var denied = await server.Client.GetAsync(path);
            Assert.Equal(401, (int)denied.StatusCode);
            Assert.Equal("Bearer", denied.Headers.WwwAuthenticate.Single().Scheme);
            await Check(Task.FromResult(denied), 401, "invalid_api_key", null);
        }

        using var health = await server.Client.GetAsync("/health");
        Assert.Equal(200, (int)health.StatusCode);
        foreach (var (header, status) in new[] { ("Bearer bad", 401), ("Basic good", 401), ("Bearer ", 401), ("Bearer GOOD", 401), ("Bearer good", 200), ("bearer better", 200) })
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, "/v1/models");
            request.Headers.TryAddWithoutValidation("Authorization", header);
            using var response = await server.Client.SendAsync(request);
            Assert.True(status == (int)response.StatusCode, header);
        }
    }

    [Fact]
    public async Task Origins_are_allowed_by_flag_only()
    {
        await using var server = await TestServer.StartAsync(options => options with { AllowedOrigins = ["https://a.example"], ApiKeys = ["k"] });
        foreach (var (origin, allowed) in new[] { ("https://a.example", true), ("https://b.example", false) })
        {
            using var preflight = new HttpRequestMessage(HttpMethod.Options, "/v1/chat/completions");
            preflight.Headers.Add("Origin", origin);
            preflight.Headers.Add("Access-Control-Request-Method", "POST");
            using var response = await server.Client.SendAsync(preflight);
            Assert.Equal(allowed, response.Headers.Contains("Access-Control-Allow-Origin"));
        }
    }

    [Fact]
    public async Task Request_ids_come_back_and_strange_ones_are_replaced()
    {
        await using var server = await TestServer.StartAsync();
        foreach (var (given, kept) in new[] { ("abc-1", true), (new string('x', 200), false), ("a b", false) })
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, "/health");
            request.Headers.TryAddWithoutValidation("X-Request-Id", given);
            using var response = await server.Client.SendAsync(request);
            Assert.Equal(kept, response.Headers.GetValues("X-Request-Id").Single() == given);
        }
    }

    [Fact]
    public async Task Overload_is_429_with_retry_after()
    {
        using var gate = new ManualResetEventSlim();
        await using var server = await TestServer.StartAsync(
            options => options with { MaxQueued = 1 },
            () => new FakeBackend(slots: 2) { OnSubmit = _ => gate.Wait() });
        var body = """{"prompt":[1,2,3],"max_tokens":4,"ignore_eos":true}""";
        var running = Enumerable.Range(0, 3).Select(_ => server.PostAsync("/v1/completions", body)).ToArray();
        while (server.Host.Current!.Gate.Live < 3)
        {
            await Task.Delay(5);
        }

        using var refused = await server.PostAsync("/v1/completions", body);
        await Check(Task.FromResult(refused), 429, "server_overloaded", null);
        Assert.InRange(refused.Headers.RetryAfter!.Delta!.Value.TotalSeconds, 1, 60);
        Assert.Contains("vllm:admission_rejections_total{model_name=\"fake\",engine=\"0\"} 1.0", await server.Client.GetStringAsync("/metrics"));
        gate.Set();
        Assert.All(await Task.WhenAll(running), response => Assert.Equal(HttpStatusCode.OK, response.StatusCode));
        await server.QuietAsync();
    }

    [Fact]
    public async Task Random_bodies_are_4xx_or_2xx_never_5xx()
    {
        await using var server = await TestServer.StartAsync();
        var seed = Environment.TickCount;
        TestContext.Current.TestOutputHelper?.WriteLine($"seed {seed}");
        var random = new Random(seed);
        string[] names =
        [
            "messages", "prompt", "model", "n", "temperature", "top_p", "top_k", "stop", "stream", "stream_options", "logit_bias", "logprobs", "top_logprobs", "seed",
            "max_tokens", "max_completion_tokens", "tools", "response_format", "echo", "min_tokens", "stop_token_ids", "cache_salt", "truncate_prompt_tokens",
            "chat_template_kwargs", "best_of", "priority", "continue_final_message", "\\ud800", "role", "content", "tokens",
        ];
        var paths = new[] { "/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize" };
        for (var i = 0; i < 600; i++)
        {
            var body = Value(random, names, 0);
            if (random.Next(8) == 0)
            {
                body = body.Remove(random.Next(body.Length), 1);
            }

            using var response = await server.PostAsync(paths[random.Next(paths.Length)], body);
            Assert.True((int)response.StatusCode is >= 200 and < 500, $"seed {seed}, {(int)response.StatusCode} for {body}");
        }

        await server.QuietAsync();
        Assert.DoesNotContain(server.Logs.Lines, line => line.Contains("Unexpected failure"));
    }

    private static string Value(Random random, string[] names, int depth)
    {
        switch (depth == 0 ? 9 : random.Next(depth > 3 ? 7 : 10))
        {
            case 0: return "null";
            case 1: return random.Next(2) == 0 ? "true" : "false";
            case 2: return random.Next(-3, 40).ToString();
            case 3: return new[] { "1e400", "-0.0", "0.5", "9223372036854775808", "1e-300", "3.0" }[random.Next(6)];
            case 4: return new[] { "\"\"", "\" 1 2\"", "\"user\"", "\"\\udc00\"", "\"\\u0000\"", "\"text\"", "\"fake\"" }[random.Next(7)];
            case 5: return "[{\"role\":\"user\",\"content\":\" 4\"}]";
            case 6: return "[1,2,3]";
            case 7: return "[" + string.Join(',', Enumerable.Range(0, random.Next(4)).Select(_ => Value(random, names, depth + 1))) + "]";
            default:
                return "{" + string.Join(',', Enumerable.Range(0, random.Next(6)).Select(_ => names[random.Next(names.Length)]).Distinct()
                    .Select(name => $"\"{name}\":{Value(random, names, depth + 1)}")) + "}";
        }
    }

    private static async Task Check(Task<HttpResponseMessage> pending, int status, string? code, string? param)
    {
        var response = await pending;
        var text = await response.Content.ReadAsStringAsync();
        Assert.True(status == (int)response.StatusCode, $"{(int)response.StatusCode} {text}");
        Assert.Equal("application/json", response.Content.Headers.ContentType!.MediaType);
        var error = JsonDocument.Parse(text).RootElement.GetProperty("error");
        Assert.Equal(["message", "type", "param", "code"], error.EnumerateObject().Select(p => p.Name));
        Assert.Equal(code, error.GetProperty("code").GetString());
        Assert.Equal(param, error.GetProperty("param").GetString());
        Assert.NotEmpty(error.GetProperty("message").GetString()!);
        Assert.True(response.Headers.Contains("X-Request-Id"));
        Assert.True(response.Headers.Contains("Retry-After") == status is 429 or 503);
    }
}
