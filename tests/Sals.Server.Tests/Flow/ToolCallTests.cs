using System.Text.Json;
using Sals.Engine.Text.Answers;
using Xunit;

namespace Sals.Server.Tests.Flow;

/// <summary>Tools over HTTP, from a model that says what the test wants: calls whole and streamed, choices, parallel calls, odd output, the conversation's way to the template.</summary>
public sealed class ToolCallTests
{
    private const string Tools = """
        "tools":[{"type":"function","function":{"name":"get_weather","description":"Weather","parameters":{"type":"object","properties":{"city":{"type":"string","maxLength":12}},"required":["city"]}}},
        {"type":"function","function":{"name":"now","parameters":{"type":"object","properties":{}}}}]
        """;

    private const string Two = "Let me look.\n<tool_call>\n{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Bonn\"}}\n</tool_call>\n<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";

    [Theory]
    [InlineData(ToolCallFormat.Hermes, Two)]
    [InlineData(ToolCallFormat.Llama, "<|python_tag|>{\"name\": \"get_weather\", \"parameters\": {\"city\": \"Bonn\"}}; {\"name\": \"now\", \"parameters\": {}}")]
    [InlineData(ToolCallFormat.Mistral, "Let me look.[TOOL_CALLS] [{\"name\": \"get_weather\", \"arguments\": {\"city\": \"Bonn\"}}, {\"name\": \"now\", \"arguments\": {}}]")]
    [InlineData(ToolCallFormat.MistralArguments, "Let me look.[TOOL_CALLS]get_weather[ARGS]{\"city\": \"Bonn\"}[TOOL_CALLS]now[ARGS]{}")]
    public async Task The_models_own_calls_are_the_same_whole_and_streamed(ToolCallFormat format, string says)
    {
        await using var scripted = await ScriptedServer.StartAsync(format);
        scripted.Says = says;
        var choice = (await scripted.ChatAsync(Tools)).GetProperty("choices")[0];
        Assert.Equal("tool_calls", choice.GetProperty("finish_reason").GetString());
        var message = choice.GetProperty("message");
        Assert.Equal(format == ToolCallFormat.Llama ? null : "Let me look.", message.GetProperty("content").GetString());
        var calls = message.GetProperty("tool_calls").EnumerateArray().ToArray();
        Assert.Equal([("get_weather", "{\"city\": \"Bonn\"}"), ("now", "{}")], calls.Select(Call));
        Assert.Equal(2, calls.Select(call => call.GetProperty("id").GetString()).Distinct().Count());
        Assert.All(calls, call => Assert.Matches(format >= ToolCallFormat.Mistral ? "^[A-Za-z0-9]{9}$" : "^call_[A-Za-z0-9]{24}$", call.GetProperty("id").GetString()));
        Assert.All(calls, call => Assert.Equal("function", call.GetProperty("type").GetString()));

        var (content, streamed, finish) = Join(await scripted.StreamAsync(Tools));
        Assert.Equal((message.GetProperty("content").GetString() ?? "", "tool_calls"), (content, finish));
        Assert.Equal(calls.Select(Call), streamed);
        await scripted.Server.QuietAsync();
    }

    [Fact]
    public async Task Arguments_are_streamed_in_many_pieces_behind_one_event_with_the_whole_name()
    {
        await using var scripted = await ScriptedServer.StartAsync();
        scripted.Says = Two;
        var deltas = (await scripted.StreamAsync(Tools)).Select(chunk => chunk.GetProperty("choices")[0].GetProperty("delta"))
            .Where(delta => delta.TryGetProperty("tool_calls", out _)).Select(delta => Assert.Single(delta.GetProperty("tool_calls").EnumerateArray())).ToArray();
        var first = deltas.Where(delta => delta.GetProperty("index").GetInt32() == 0).ToArray();
        Assert.Equal("get_weather", first[0].GetProperty("function").GetProperty("name").GetString());
        Assert.Equal("", first[0].GetProperty("function").GetProperty("arguments").GetString());
        Assert.True(first.Length > 10, $"{first.Length} events");
        Assert.All(first.Skip(1), delta => Assert.Equal(["index", "function"], delta.EnumerateObject().Select(property => property.Name)));
        Assert.All(first.Skip(1), delta => Assert.Equal(["arguments"], delta.GetProperty("function").EnumerateObject().Select(property => property.Name)));
    }

    [Fact]
    public async Task Required_and_named_hold_any_model_to_calls_that_fit()
    {
        foreach (var format in Enum.GetValues<ToolCallFormat>())
        {
            await using var scripted = await ScriptedServer.StartAsync(format);
            // says what no grammar lets through: the masks lead it to the next token that fits
            scripted.Says = "I will not call anything. \"\"}}]";
            foreach (var (choice, name) in new[] { ("\"required\"", null), ("{\"type\":\"function\",\"function\":{\"name\":\"get_weather\"}}", "get_weather"),
                ("{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"required\",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]}}", "now") })
            {
                var answer = (await scripted.ChatAsync($"{Tools},\"tool_choice\":{choice},\"parallel_tool_calls\":false,\"max_tokens\":300")).GetProperty("choices")[0];
                Assert.Equal("tool_calls", answer.GetProperty("finish_reason").GetString());
                var (called, arguments) = Call(Assert.Single(answer.GetProperty("message").GetProperty("tool_calls").EnumerateArray()));
                Assert.Contains(called, name is null ? ["get_weather", "now"] : (string[])[name]);
                Assert.Equal(JsonValueKind.Object, JsonDocument.Parse(arguments).RootElement.ValueKind);
                Assert.Equal(JsonValueKind.Null, answer.GetProperty("message").GetProperty("content").ValueKind);
            }
        }
    }

    [Fact]
    public async Task None_shows_no_tools_and_looks_for_no_calls_and_auto_may_be_switched_off()
    {
        await using var scripted = await ScriptedServer.StartAsync();
        scripted.Says = Two;
        var message = (await scripted.ChatAsync(Tools + ",\"tool_choice\":\"none\"")).GetProperty("choices")[0].GetProperty("message");
        Assert.Equal(Two, message.GetProperty("content").GetString());
        Assert.Empty(scripted.Prompt!.Tools);

        message = (await scripted.ChatAsync(Tools + ",\"parallel_tool_calls\":false")).GetProperty("choices")[0].GetProperty("message");
        Assert.Equal("get_weather", Call(Assert.Single(message.GetProperty("tool_calls").EnumerateArray())).Name);
        Assert.Equal(2, scripted.Prompt!.Tools.Count);

        await scripted.ChatAsync(Tools + ",\"tool_choice\":{\"type\":\"allowed_tools\",\"allowed_tools\":{\"mode\":\"auto\",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"now\"}}]}}");
        Assert.Equal("now", Assert.Single(scripted.Prompt!.Tools).GetProperty("function").GetProperty("name").GetString());

        await using var off = await ScriptedServer.StartAsync(change: options => options with { AutoToolChoice = false });
        Assert.Equal("tool_choice", (await off.ChatAsync(Tools, 400)).GetProperty("error").GetProperty("param").GetString());
        await off.ChatAsync(Tools + ",\"tool_choice\":\"none\"");
    }

    [Fact]
    public async Task Text_or_a_call_where_a_response_format_is_asked_for_too()
    {
        await using var scripted = await ScriptedServer.StartAsync();
        const string format = ",\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"n\",\"schema\":{\"type\":\"integer\"}}}";
        scripted.Says = "42";
        var choice = (await scripted.ChatAsync(Tools + format)).GetProperty("choices")[0];
        Assert.Equal(("42", "stop"), (choice.GetProperty("message").GetProperty("content").GetString(), choice.GetProperty("finish_reason").GetString()));
        scripted.Says = "<tool_call>\n{\"name\": \"now\", \"arguments\": {}}\n</tool_call>";
        choice = (await scripted.ChatAsync(Tools + format)).GetProperty("choices")[0];
        Assert.Equal("tool_calls", choice.GetProperty("finish_reason").GetString());
    }

    [Fact]
    public async Task Odd_output_is_content_or_an_odd_call_and_never_a_failure()
    {
        const int seed = 99;
        var random = new Random(seed);
        string[] fragments = ["<tool_call>", "</tool_call>", "{\"name\": \"now\"", ", \"arguments\": {", "}", "\"", "[TOOL_CALLS]", "[", "<|python_tag|>", "<|other|>", "x", "\n", "é", "\\ud800", "{", ":", "<think>", "</think>"];
        foreach (var format in Enum.GetValues<ToolCallFormat>())
        {
            await using var scripted = await ScriptedServer.StartAsync(format, ReasoningStart.Optional);
            for (var i = 0; i < 40; i++)
            {
                scripted.Says = string.Concat(Enumerable.Range(0, random.Next(1, 12)).Select(_ => fragments[random.Next(fragments.Length)]));
                var whole = (await scripted.ChatAsync(Tools)).GetProperty("choices")[0];
                var (content, calls, finish) = Join(await scripted.StreamAsync(Tools));
                var message = whole.GetProperty("message");
                Assert.Equal(message.GetProperty("content").GetString() ?? "", content);
                Assert.Equal(message.TryGetProperty("tool_calls", out var given) ? given.EnumerateArray().Select(Call) : [], calls);
                Assert.Equal(whole.GetProperty("finish_reason").GetString(), finish);
            }

            await scripted.Server.QuietAsync();
        }
    }

    [Fact]
    public async Task A_cut_call_ends_with_length_and_what_there_is()
    {
        await using var scripted = await ScriptedServer.StartAsync();
        scripted.Says = Two;
        var choice = (await scripted.ChatAsync(Tools + ",\"max_tokens\":75")).GetProperty("choices")[0];
        Assert.Equal("length", choice.GetProperty("finish_reason").GetString());
        Assert.StartsWith("{\"ci", Call(choice.GetProperty("message").GetProperty("tool_calls")[0]).Arguments);
    }

    [Theory]
    [InlineData("\"tools\":[{\"type\":\"web_search\"}]", "tools[0].type")]
    [InlineData("\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"a b\"}}]", "tools[0].function.name")]
    [InlineData("\"tool_choice\":\"required\"", "tool_choice")]
    [InlineData("\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],\"tool_choice\":{\"type\":\"function\",\"function\":{\"name\":\"g\"}}", "tool_choice")]
    [InlineData("\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\",\"properties\":{\"x\":{\"not\":{}}}}}}],\"tool_choice\":\"required\"", "tools[0].function.parameters.properties.x.not")]
    [InlineData("\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{\"type\":\"object\",\"properties\":{\"x\":{\"type\":\"string\",\"pattern\":\"(\"}}}}}],\"tool_choice\":\"required\"", "tools[0].function.parameters.properties.x.pattern")]
    [InlineData("\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}],\"tool_choice\":\"required\",\"bad_words\":[\"x\"]", "bad_words")]
    public async Task What_cannot_be_done_is_a_400_that_names_the_place(string fields, string path)
    {
        await using var scripted = await ScriptedServer.StartAsync();
        var error = (await scripted.ChatAsync(fields, 400)).GetProperty("error");
        Assert.Equal(path, error.GetProperty("param").GetString());
        Assert.StartsWith(path, error.GetProperty("message").GetString());
    }

    [Fact]
    public async Task Calls_and_their_answers_reach_the_template()
    {
        await using var scripted = await ScriptedServer.StartAsync();
        scripted.Says = "It rains.";
        await scripted.Server.PostJsonAsync("/v1/chat/completions", """
            {"messages":[{"role":"user","content":"Weather?"},
            {"role":"assistant","content":null,"reasoning_content":"Hm.","tool_calls":[{"id":"call_1","type":"function","function":{"name":"get_weather","arguments":"{\"city\":\"Bonn\"}"}}]},
            {"role":"tool","tool_call_id":"call_1","content":[{"type":"text","text":"rain"}]}]}
            """);
        var turns = scripted.Prompt!.Turns;
        Assert.Equal(("", "Hm."), (turns[1].Content, turns[1].Reasoning));
        var call = Assert.Single(turns[1].ToolCalls);
        Assert.Equal(("call_1", "get_weather", "{\"city\":\"Bonn\"}"), (call.Id, call.Name, call.Arguments));
        Assert.Equal(("tool", "call_1", "rain"), (turns[2].Role, turns[2].ToolCallId, turns[2].Content));
    }

    private static (string Name, string Arguments) Call(JsonElement call) =>
        (call.GetProperty("function").GetProperty("name").GetString()!, call.GetProperty("function").GetProperty("arguments").GetString()!);

    private static (string Content, List<(string Name, string Arguments)> Calls, string? Finish) Join(JsonElement[] chunks)
    {
        var content = "";
        string? finish = null;
        var calls = new List<(string Name, string Arguments)>();
        foreach (var choice in chunks.Select(chunk => chunk.GetProperty("choices")[0]))
        {
            finish = choice.GetProperty("finish_reason").GetString() ?? finish;
            var delta = choice.GetProperty("delta");
            content += delta.TryGetProperty("content", out var text) ? text.GetString() : "";
            foreach (var call in delta.TryGetProperty("tool_calls", out var given) ? given.EnumerateArray() : default)
            {
                var function = call.GetProperty("function");
                var index = call.GetProperty("index").GetInt32();
                if (function.TryGetProperty("name", out var name))
                {
                    Assert.Equal(calls.Count, index);
                    calls.Add((name.GetString()!, ""));
                }

                calls[index] = (calls[index].Name, calls[index].Arguments + function.GetProperty("arguments").GetString());
            }
        }

        return (content, calls, finish);
    }
}
