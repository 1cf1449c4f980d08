using System.ClientModel;
using System.ClientModel.Primitives;
using System.Text.Json;
using OpenAI;
using OpenAI.Chat;
using Sals.Server.Hosting;
using Xunit;

namespace Sals.Server.Tests.Flow;

/// <summary>The embedded model on the CPU backend, asked by the official SDKs over real Kestrel.</summary>
public sealed class EmbeddedModelTests : IAsyncLifetime
{
    private const string Question = "What is the capital of France?";
    private TestServer _server = null!;

    public async ValueTask InitializeAsync() => _server = await TestServer.StartAsync(options => ModelOpener.Open(options, _ => { }));

    public ValueTask DisposeAsync() => _server.DisposeAsync();

    [Fact]
    public async Task The_dotnet_SDK_chats_plain_and_streamed()
    {
        var client = Client();
        ChatCompletion plain = await client.CompleteChatAsync([new UserChatMessage(Question)]);
        Assert.Contains("Paris", plain.Content[0].Text);
        Assert.Equal(ChatFinishReason.Stop, plain.FinishReason);
        Assert.Equal(plain.Usage.TotalTokenCount, plain.Usage.InputTokenCount + plain.Usage.OutputTokenCount);

        var streamed = "";
        ChatTokenUsage? usage = null;
        ChatFinishReason? finish = null;
        await foreach (var update in client.CompleteChatStreamingAsync([new UserChatMessage(Question)]))
        {
            streamed += string.Concat(update.ContentUpdate.Select(part => part.Text));
            finish = update.FinishReason ?? finish;
            usage = update.Usage ?? usage;
        }

        Assert.Equal(plain.Content[0].Text, streamed);
        Assert.Equal(ChatFinishReason.Stop, finish);
        Assert.Equal(plain.Usage.OutputTokenCount, usage!.OutputTokenCount);
    }

    [Fact]
    public async Task The_dotnet_SDK_gets_logprobs()
    {
        ChatCompletion answer = await Client().CompleteChatAsync(
            [new UserChatMessage(Question)], new ChatCompletionOptions { IncludeLogProbabilities = true, TopLogProbabilityCount = 3, Temperature = 0 });
        Assert.Equal(answer.Content[0].Text, string.Concat(answer.ContentTokenLogProbabilities.Select(token => token.Token)));
        Assert.All(answer.ContentTokenLogProbabilities, token =>
        {
            Assert.Equal(3, token.TopLogProbabilities.Count);
            Assert.InRange(token.LogProbability, -20, 0);
            Assert.Equal(token.Token, token.TopLogProbabilities[0].Token);
        });
    }

    [Fact]
    public async Task The_dotnet_SDK_sees_errors_as_errors()
    {
        var error = await Assert.ThrowsAsync<ClientResultException>(async () =>
            await Client().CompleteChatAsync([new UserChatMessage(Question)], new ChatCompletionOptions { MaxOutputTokenCount = 100_000 }));
        Assert.Equal(400, error.Status);
        Assert.Contains("context_length_exceeded", error.Message);
        var unknown = await Assert.ThrowsAsync<ClientResultException>(async () => await Client("other").CompleteChatAsync([new UserChatMessage(Question)]));
        Assert.Equal(404, unknown.Status);
    }

    [Fact]
    public async Task The_dotnet_SDK_cancels_and_the_pages_come_back()
    {
        using var cancel = new CancellationTokenSource();
        var seen = 0;
        await Assert.ThrowsAnyAsync<OperationCanceledException>(async () =>
        {
            var options = new ChatCompletionOptions { MaxOutputTokenCount = 4000, Temperature = 1.5f };
            options.LogitBiases[2] = -100;
            options.LogitBiases[0] = -100;
            await foreach (var update in Client().CompleteChatStreamingAsync([new UserChatMessage("Tell me a story.")], options, cancel.Token))
            {
                seen += update.ContentUpdate.Count;
                if (seen >= 5)
                {
                    await cancel.CancelAsync();
                }
            }
        });
        await _server.QuietAsync();
        Assert.InRange(_server.Stats.GeneratedTokens, 5, 3000);
    }

    [Fact]
    public async Task The_node_SDK_chats_streams_gets_errors_cancels_and_takes_logprobs_and_n()
    {
        Assert.Equal("ok", (await Outside.NodeAsync("openai-sdk.mjs", _server.Address.ToString().TrimEnd('/'))).Trim());
        await _server.QuietAsync();
    }

    [Fact]
    public async Task The_same_prompt_alone_and_sixteen_at_once_beside_other_traffic_gives_one_text()
    {
        var body = $"{{\"messages\":[{{\"role\":\"user\",\"content\":\"{Question}\"}}],\"max_tokens\":24,\"ignore_eos\":true,\"temperature\":0.8,\"seed\":5}}";
        async Task<string?> AskAsync(string json) =>
            (await _server.PostJsonAsync("/v1/chat/completions", json)).GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString();

        var alone = await AskAsync(body);
        var others = Enumerable.Range(0, 6).Select(i => AskAsync(body.Replace("France", $"country {i}"))).ToArray();
        Assert.All(await Task.WhenAll(Enumerable.Range(0, 16).Select(_ => AskAsync(body))), text => Assert.Equal(alone, text));
        await Task.WhenAll(others);
        await _server.QuietAsync();
    }

    [Fact]
    public async Task A_second_long_prompt_with_the_same_beginning_reports_cached_tokens_and_the_same_text()
    {
        var text = string.Concat(Enumerable.Repeat("The river runs through the old town and the market. ", 30));
        var body = $"{{\"messages\":[{{\"role\":\"user\",\"content\":\"{text}What runs through the town?\"}}],\"max_tokens\":16,\"temperature\":0}}";
        var first = await _server.PostJsonAsync("/v1/chat/completions", body);
        var second = await _server.PostJsonAsync("/v1/chat/completions", body);
        Assert.Equal(0, Cached(first));
        Assert.True(Cached(second) >= 64, $"{Cached(second)}");
        Assert.Equal(
            first.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString(),
            second.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString());

        static int Cached(JsonElement answer) => answer.GetProperty("usage").GetProperty("prompt_tokens_details").GetProperty("cached_tokens").GetInt32();
    }

    [Fact]
    public async Task Echo_with_logprobs_scores_the_prompt_as_evaluation_harnesses_ask()
    {
        var plain = await _server.PostJsonAsync("/v1/completions", """{"prompt":"The sun and","max_tokens":4,"temperature":0,"logprobs":1,"return_token_ids":true}""");
        var answer = plain.GetProperty("choices")[0];
        var prompt = string.Join(',', answer.GetProperty("prompt_token_ids").EnumerateArray().Concat(answer.GetProperty("token_ids").EnumerateArray()).Select(id => id.GetInt32()));
        var scored = (await _server.PostJsonAsync("/v1/completions", $"{{\"prompt\":[{prompt}],\"max_tokens\":1,\"temperature\":0,\"logprobs\":1,\"echo\":true}}")).GetProperty("choices")[0];
        Assert.StartsWith("The sun and" + answer.GetProperty("text").GetString(), scored.GetProperty("text").GetString());
        var logprobs = scored.GetProperty("logprobs");
        var values = logprobs.GetProperty("token_logprobs").EnumerateArray().ToArray();
        var first = answer.GetProperty("prompt_token_ids").GetArrayLength();
        Assert.Equal(first + 4 + 1, values.Length);
        Assert.Equal(JsonValueKind.Null, values[0].ValueKind);
        Assert.Equal(JsonValueKind.Null, logprobs.GetProperty("top_logprobs")[0].ValueKind);
        Assert.Equal(0, logprobs.GetProperty("text_offset")[0].GetInt32());
        for (var i = 0; i < 4; i++)
        {
            // the tokens it generated greedily are scored as it scored them, and as the most probable ones
            Assert.Equal(answer.GetProperty("logprobs").GetProperty("token_logprobs")[i].GetDouble(), values[first + i].GetDouble(), 3);
            Assert.Equal(logprobs.GetProperty("tokens")[first + i].GetString(), logprobs.GetProperty("top_logprobs")[first + i].EnumerateObject().MaxBy(top => top.Value.GetDouble()).Name);
        }

        await _server.QuietAsync();
    }

    [Fact]
    public async Task A_final_assistant_message_is_continued()
    {
        var answer = await _server.PostJsonAsync("/v1/chat/completions", $$"""
            {"messages":[{"role":"user","content":"{{Question}}"},{"role":"assistant","content":"The capital of France is"}],"continue_final_message":true,"temperature":0}
            """);
        Assert.StartsWith(" Paris", answer.GetProperty("choices")[0].GetProperty("message").GetProperty("content").GetString());
    }

    private ChatClient Client(string model = "sals-tiny") => new(model, new ApiKeyCredential("key"), new OpenAIClientOptions
    {
        Endpoint = new Uri(_server.Address, "v1"),
        RetryPolicy = new ClientRetryPolicy(0),
    });
}
