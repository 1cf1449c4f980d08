#pragma warning disable OPENAI001 // the Responses client is marked experimental
using System.ClientModel;
using System.ClientModel.Primitives;
using System.Text.Json;
using OpenAI;
using OpenAI.Chat;
using OpenAI.Responses;
using Sals.Engine.Text.Answers;
using Xunit;

namespace Sals.Server.Tests.Flow;

/// <summary>Tools, reasoning and responses through the official SDKs, which write and read all of it in their own words.</summary>
public sealed class SdkToolTests : IAsyncLifetime
{
    private const string Parameters = """{"type":"object","properties":{"city":{"type":"string","maxLength":12}},"required":["city"],"additionalProperties":false}""";

    private ScriptedServer _scripted = null!;

    public async ValueTask InitializeAsync()
    {
        _scripted = await ScriptedServer.StartAsync(reasoning: ReasoningStart.Optional);
        // calls until it has been answered
        _scripted.Answers = prompt => prompt.Turns[^1].Role == "tool" ? $"It is {prompt.Turns[^1].Content}."
            : prompt.Tools.Count == 0 ? "Hello."
            : "<think>\nI need the weather.\n</think>\n\nLet me look.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Bonn\"}}\n</tool_call>";
    }

    public ValueTask DisposeAsync() => _scripted.DisposeAsync();

    [Fact]
    public async Task The_node_SDKs_tools_and_responses()
    {
        Assert.Equal("ok", (await Outside.NodeAsync("openai-tools.mjs", _scripted.Server.Address.ToString().TrimEnd('/'))).Trim());
        await _scripted.Server.QuietAsync();
    }

    [Fact]
    public async Task The_dotnet_SDK_calls_tools_until_the_answer()
    {
        var client = new ChatClient("fake", new ApiKeyCredential("key"), new OpenAIClientOptions { Endpoint = Endpoint, RetryPolicy = new ClientRetryPolicy(0) });
        var options = new ChatCompletionOptions { Tools = { ChatTool.CreateFunctionTool("get_weather", "Weather", BinaryData.FromString(Parameters), functionSchemaIsStrict: true) } };
        List<ChatMessage> messages = [new SystemChatMessage("s"), new UserChatMessage("Weather in Bonn?")];
        ChatCompletion first = await client.CompleteChatAsync(messages, options);
        Assert.Equal(ChatFinishReason.ToolCalls, first.FinishReason);
        var call = Assert.Single(first.ToolCalls);
        Assert.Equal(("get_weather", "{\"city\": \"Bonn\"}", "Let me look."), (call.FunctionName, call.FunctionArguments.ToString(), first.Content[0].Text));
        messages.Add(new AssistantChatMessage(first));
        messages.Add(new ToolChatMessage(call.Id, "rainy"));
        ChatCompletion second = await client.CompleteChatAsync(messages, options);
        Assert.Equal((ChatFinishReason.Stop, "It is rainy."), (second.FinishReason, second.Content[0].Text));
        Assert.Equal(call.Id, _scripted.Prompt!.Turns[^1].ToolCallId);

        messages.RemoveRange(2, 2);
        foreach (var choice in new[] { ChatToolChoice.CreateRequiredChoice(), ChatToolChoice.CreateFunctionChoice("get_weather") })
        {
            options.ToolChoice = choice;
            options.AllowParallelToolCalls = false;
            ChatCompletion held = await client.CompleteChatAsync(messages, options);
            Assert.Equal(ChatFinishReason.ToolCalls, held.FinishReason);
            Assert.True(JsonDocument.Parse(Assert.Single(held.ToolCalls).FunctionArguments).RootElement.TryGetProperty("city", out _));
        }

        options.ToolChoice = ChatToolChoice.CreateNoneChoice();
        ChatCompletion none = await client.CompleteChatAsync(messages, options);
        Assert.Equal((ChatFinishReason.Stop, "Hello."), (none.FinishReason, none.Content[0].Text));
    }

    [Fact]
    public async Task The_dotnet_SDK_streams_calls()
    {
        var client = new ChatClient("fake", new ApiKeyCredential("key"), new OpenAIClientOptions { Endpoint = Endpoint, RetryPolicy = new ClientRetryPolicy(0) });
        var options = new ChatCompletionOptions { Tools = { ChatTool.CreateFunctionTool("get_weather", "Weather", BinaryData.FromString(Parameters)) } };
        var (name, id, arguments, content) = ("", "", "", "");
        ChatFinishReason? finish = null;
        await foreach (var update in client.CompleteChatStreamingAsync([new UserChatMessage("Weather in Bonn?")], options))
        {
            foreach (var part in update.ToolCallUpdates)
            {
                Assert.Equal(0, part.Index);
                name += part.FunctionName;
                id += part.ToolCallId;
                arguments += part.FunctionArgumentsUpdate?.ToString();
            }

            content += string.Concat(update.ContentUpdate.Select(part => part.Text));
            finish = update.FinishReason ?? finish;
        }

        Assert.Equal(("get_weather", "{\"city\": \"Bonn\"}", "Let me look.", ChatFinishReason.ToolCalls), (name, arguments, content, finish!.Value));
        Assert.StartsWith("call_", id);
    }

    [Fact]
    public async Task The_dotnet_SDK_creates_responses_with_tools_and_formats()
    {
        var client = Responses();
        var options = new CreateResponseOptions("fake", [ResponseItem.CreateUserMessageItem("Weather in Bonn?")])
        {
            Instructions = "Be brief.",
            MaxOutputTokenCount = 300,
            Tools = { ResponseTool.CreateFunctionTool("get_weather", BinaryData.FromString(Parameters), strictModeEnabled: true, functionDescription: "Weather") },
        };
        ResponseResult first = await client.CreateResponseAsync(options);
        Assert.Equal(ResponseStatus.Completed, first.Status);
        Assert.Equal("Let me look.", first.GetOutputText());
        Assert.IsType<ReasoningResponseItem>(first.OutputItems[0]);
        var call = Assert.Single(first.OutputItems.OfType<FunctionCallResponseItem>());
        Assert.Equal(("get_weather", "{\"city\": \"Bonn\"}"), (call.FunctionName, call.FunctionArguments.ToString()));
        Assert.True(first.Usage.OutputTokenCount > 50 && first.Usage.TotalTokenCount == first.Usage.InputTokenCount + first.Usage.OutputTokenCount);

        foreach (var item in first.OutputItems)
        {
            options.InputItems.Add(item);
        }

        options.InputItems.Add(ResponseItem.CreateFunctionCallOutputItem(call.CallId, "rainy"));
        ResponseResult second = await client.CreateResponseAsync(options);
        Assert.Equal("It is rainy.", second.GetOutputText());

        var format = new CreateResponseOptions("fake", [ResponseItem.CreateUserMessageItem("Sure?")])
        {
            TextOptions = new ResponseTextOptions { TextFormat = ResponseTextFormat.CreateJsonSchemaFormat("sure", BinaryData.FromString("""{"type":"object","properties":{"sure":{"type":"boolean"}},"required":["sure"],"additionalProperties":false}"""), jsonSchemaIsStrict: true) },
        };
        ResponseResult third = await client.CreateResponseAsync(format);
        Assert.Contains(JsonDocument.Parse(third.GetOutputText()).RootElement.GetProperty("sure").ValueKind, (JsonValueKind[])[JsonValueKind.True, JsonValueKind.False]);

        options.PreviousResponseId = "resp_1";
        Assert.Equal(400, (await Assert.ThrowsAsync<ClientResultException>(() => client.CreateResponseAsync(options))).Status);
    }

    [Fact]
    public async Task The_dotnet_SDK_streams_responses()
    {
        var options = new CreateResponseOptions("fake", [ResponseItem.CreateUserMessageItem("Weather in Bonn?")])
        {
            StreamingEnabled = true,
            Tools = { ResponseTool.CreateFunctionTool("get_weather", BinaryData.FromString(Parameters), strictModeEnabled: true) },
        };
        var (text, arguments) = ("", "");
        ResponseResult? done = null;
        var number = 0;
        await foreach (var update in await Responses().CreateResponseStreamingAsync(options))
        {
            Assert.Equal(number++, update.SequenceNumber);
            switch (update)
            {
                case StreamingResponseOutputTextDeltaUpdate delta:
                    text += delta.Delta;
                    break;
                case StreamingResponseFunctionCallArgumentsDeltaUpdate delta:
                    arguments += delta.Delta.ToString();
                    break;
                case StreamingResponseCompletedUpdate completed:
                    done = completed.Response;
                    break;
            }
        }

        Assert.Equal(("Let me look.", "{\"city\": \"Bonn\"}"), (text, arguments));
        Assert.Equal("get_weather", done!.OutputItems.OfType<FunctionCallResponseItem>().Single().FunctionName);
    }

    private Uri Endpoint => new(_scripted.Server.Address, "v1");

    private ResponsesClient Responses() => new(new ApiKeyCredential("key"), new ResponsesClientOptions { Endpoint = Endpoint, RetryPolicy = new ClientRetryPolicy(0) });
}
