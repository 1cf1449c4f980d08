using System.ClientModel;
using System.ClientModel.Primitives;
using OpenAI;
using OpenAI.Chat;
using OpenAI.Models;
using Sals.Testing;
using Xunit;

namespace Sals.Server.Tests.Flow;

/// <summary>The official SDKs against a server with a key, one place and no queue, slow enough to be caught at work: errors, retries, cancellation.</summary>
public sealed class SdkConformanceTests : IAsyncLifetime
{
    private TestServer _server = null!;

    // without end tokens, so that a long answer is long whatever its seed
    public async ValueTask InitializeAsync() => _server = await TestServer.StartAsync(
        _ => TestServer.Fake(() => new FakeBackend(slots: 1, maxModelLength: 1024) { OnSubmit = _ => Thread.Sleep(2) }) with { EndTokenIds = [] },
        options => options with { ApiKeys = ["good"], MaxQueued = 0 });

    public ValueTask DisposeAsync() => _server.DisposeAsync();

    [Fact]
    public async Task The_node_SDKs_models_completions_errors_aborts_and_retries()
    {
        Assert.Equal("ok", (await Outside.NodeAsync("openai-conformance.mjs", _server.Address.ToString().TrimEnd('/'))).Trim());
        await _server.QuietAsync();
    }

    [Fact]
    public async Task The_dotnet_SDK_lists_models()
    {
        var client = new OpenAIModelClient(new ApiKeyCredential("good"), Options(0));
        OpenAIModelCollection models = await client.GetModelsAsync();
        Assert.Equal(["fake", "org/alias"], models.Select(model => model.Id));
        OpenAIModel one = await client.GetModelAsync("fake");
        Assert.Equal("sals", one.OwnedBy);
    }

    [Fact]
    public async Task The_dotnet_SDK_gets_401_400_404_and_429_as_such()
    {
        Assert.Equal(401, (await Assert.ThrowsAsync<ClientResultException>(() => AskAsync(Client(key: "wrong")))).Status);
        Assert.Equal(404, (await Assert.ThrowsAsync<ClientResultException>(() => AskAsync(Client("nope")))).Status);
        var bad = await Assert.ThrowsAsync<ClientResultException>(() => Client().CompleteChatAsync([new UserChatMessage(" 1")], new ChatCompletionOptions { Temperature = 3 }));
        Assert.Equal(400, bad.Status);
        Assert.Contains("temperature", bad.Message);

        using var end = new CancellationTokenSource();
        var holding = HoldAsync(end.Token);
        await _server.UntilRunningAsync();
        var refused = await Assert.ThrowsAsync<ClientResultException>(() => AskAsync(Client()));
        Assert.Equal(429, refused.Status);
        Assert.True(refused.GetRawResponse()!.Headers.TryGetValue("Retry-After", out var seconds) && int.Parse(seconds!) >= 1);
        await end.CancelAsync();
        await holding;
        await _server.QuietAsync();
    }

    [Fact]
    public async Task The_dotnet_SDK_retries_an_overloaded_server_until_it_answers()
    {
        using var end = new CancellationTokenSource();
        var holding = HoldAsync(end.Token);
        await _server.UntilRunningAsync();
        var answer = AskAsync(Client(retries: 5));
        while (!(await MetricsAsync()).Contains("vllm:admission_rejections_total{model_name=\"fake\",engine=\"0\"} 1.0"))
        {
            await Task.Delay(10);
        }

        await end.CancelAsync();
        await holding;
        Assert.Equal(1, (await answer).Usage.OutputTokenCount);
    }

    private async Task<string> MetricsAsync()
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, "/metrics");
        request.Headers.Authorization = new("Bearer", "good");
        using var response = await _server.Client.SendAsync(request);
        return await response.Content.ReadAsStringAsync();
    }

    /// <summary>Takes the server's one place until cancelled.</summary>
    private async Task HoldAsync(CancellationToken cancel)
    {
        var options = new ChatCompletionOptions { MaxOutputTokenCount = 900 };
        try
        {
            await foreach (var update in Client().CompleteChatStreamingAsync([new UserChatMessage(" 1 2 3")], options, cancel))
            {
                _ = update;
            }
        }
        catch (OperationCanceledException)
        {
            // as asked
        }
    }

    private static async Task<ChatCompletion> AskAsync(ChatClient client) =>
        await client.CompleteChatAsync([new UserChatMessage(" 1")], new ChatCompletionOptions { MaxOutputTokenCount = 1 });

    private ChatClient Client(string model = "fake", string key = "good", int retries = 0) => new(model, new ApiKeyCredential(key), Options(retries));

    private OpenAIClientOptions Options(int retries) => new() { Endpoint = new Uri(_server.Address, "v1"), RetryPolicy = new ClientRetryPolicy(retries) };
}
