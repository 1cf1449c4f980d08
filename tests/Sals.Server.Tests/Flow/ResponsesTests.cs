using System.Text.Json;
using Sals.Engine.Text.Answers;
using Sals.Server.Api;
using Xunit;

namespace Sals.Server.Tests.Flow;

/// <summary>POST /v1/responses: objects, the order of events, items of every kind in and out, what needs storage refused.</summary>
public sealed class ResponsesTests
{
    private const string Tools = "\"tools\":" + """[{"type":"function","name":"f","description":"F","strict":true,"parameters":{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"],"additionalProperties":false}}]""";
    private const string Call = "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": 1}}\n</tool_call>";

    [Fact]
    public async Task A_response_repeats_its_request_and_has_one_message()
    {
        await using var scripted = await ScriptedServer.StartAsync();
        scripted.Says = "Hello, é😀.";
        var response = await scripted.Server.PostJsonAsync("/v1/responses", """
            {"input":"hi","instructions":"Be brief.","max_output_tokens":50,"temperature":0.5,"top_p":0.9,"metadata":{"k":"v"},"store":true,"reasoning":{"effort":"low"},"user":"me","truncation":"disabled"}
            """);
        Assert.StartsWith("resp_", response.GetProperty("id").GetString());
        Assert.Equal(("response", "completed", false), (Text(response, "object"), Text(response, "status"), response.GetProperty("store").GetBoolean()));
        Assert.Equal(("Be brief.", 50, 0.5, 0.9), (Text(response, "instructions"), response.GetProperty("max_output_tokens").GetInt32(), response.GetProperty("temperature").GetDouble(), response.GetProperty("top_p").GetDouble()));
        Assert.Equal(("v", "low", "text"), (Text(response.GetProperty("metadata"), "k"), Text(response.GetProperty("reasoning"), "effort"), Text(response.GetProperty("text").GetProperty("format"), "type")));
        var item = Assert.Single(response.GetProperty("output").EnumerateArray());
        Assert.Equal(("message", "assistant", "completed"), (Text(item, "type"), Text(item, "role"), Text(item, "status")));
        var part = Assert.Single(item.GetProperty("content").EnumerateArray());
        Assert.Equal(("output_text", "Hello, é😀."), (Text(part, "type"), Text(part, "text")));
        var usage = response.GetProperty("usage");
        Assert.Equal(usage.GetProperty("total_tokens").GetInt32(), usage.GetProperty("input_tokens").GetInt32() + usage.GetProperty("output_tokens").GetInt32());
        Assert.Equal([("system", "Be brief."), ("user", "hi")], scripted.Prompt!.Turns.Select(turn => (turn.Role, turn.Content)));
        Assert.Equal("low", scripted.Prompt.Arguments["reasoning_effort"]);
        await scripted.Server.QuietAsync();
    }

    [Fact]
    public async Task Events_come_in_the_order_of_the_API_and_make_the_whole_response()
    {
        await using var scripted = await ScriptedServer.StartAsync(reasoning: ReasoningStart.Optional);
        scripted.Says = "<think>\nHm.\n</think>\n\nLet me see.\n" + Call;
        var request = $"{{\"input\":\"hi\",{Tools}";
        var whole = await scripted.Server.PostJsonAsync("/v1/responses", request + "}");
        var events = await scripted.EventsAsync(request + ",\"stream\":true}");
        Assert.Equal(Enumerable.Range(0, events.Length), events.Select(one => one.Data.GetProperty("sequence_number").GetInt32()));
        Assert.All(events, one => Assert.Equal(one.Name, Text(one.Data, "type")));
        // repeated deltas once
        var names = events.Select(one => one.Name).ToArray();
        Assert.Equal(
            ["response.created", "response.in_progress",
             "response.output_item.added", "response.content_part.added", "response.reasoning_text.delta", "response.reasoning_text.done", "response.content_part.done", "response.output_item.done",
             "response.output_item.added", "response.content_part.added", "response.output_text.delta", "response.output_text.done", "response.content_part.done", "response.output_item.done",
             "response.output_item.added", "response.function_call_arguments.delta", "response.function_call_arguments.done", "response.output_item.done",
             "response.completed"],
            names.Where((name, i) => i == 0 || names[i - 1] != name));
        Assert.Equal("in_progress", Text(events[0].Data.GetProperty("response"), "status"));

        var last = events[^1].Data.GetProperty("response");
        Assert.Equal(Strip(whole), Strip(last));
        Assert.Equal(["reasoning", "message", "function_call"], last.GetProperty("output").EnumerateArray().Select(item => Text(item, "type")));
        var call = last.GetProperty("output")[2];
        Assert.Equal(("f", "{\"a\": 1}", "completed"), (Text(call, "name"), Text(call, "arguments"), Text(call, "status")));
        Assert.Equal("Let me see.", string.Concat(Deltas("response.output_text.delta")));
        Assert.Equal("Hm.", string.Concat(Deltas("response.reasoning_text.delta")));
        Assert.Equal("{\"a\": 1}", string.Concat(Deltas("response.function_call_arguments.delta")));
        foreach (var one in events.Where(one => one.Data.TryGetProperty("item_id", out _)))
        {
            Assert.Equal(Text(last.GetProperty("output")[one.Data.GetProperty("output_index").GetInt32()], "id"), Text(one.Data, "item_id"));
        }

        IEnumerable<string?> Deltas(string name) => events.Where(one => one.Name == name).Select(one => Text(one.Data, "delta"));
        await scripted.Server.QuietAsync();
    }

    [Fact]
    public async Task A_limit_makes_a_response_incomplete()
    {
        await using var scripted = await ScriptedServer.StartAsync();
        scripted.Says = "A long answer.";
        var response = await scripted.Server.PostJsonAsync("/v1/responses", """{"input":"hi","max_output_tokens":6}""");
        Assert.Equal(("incomplete", "max_output_tokens"), (Text(response, "status"), Text(response.GetProperty("incomplete_details"), "reason")));
        Assert.Equal(("incomplete", "A long"), (Text(response.GetProperty("output")[0], "status"), Text(response.GetProperty("output")[0].GetProperty("content")[0], "text")));
        Assert.Equal("response.incomplete", (await scripted.EventsAsync("""{"input":"hi","max_output_tokens":6,"stream":true}"""))[^1].Name);
    }

    [Fact]
    public async Task Required_calls_and_formats_are_held_by_masks_and_logprobs_are_given()
    {
        await using var scripted = await ScriptedServer.StartAsync();
        scripted.Says = "no";
        foreach (var choice in (string[])["\"required\"", "{\"type\":\"function\",\"name\":\"f\"}", "{\"type\":\"allowed_tools\",\"mode\":\"required\",\"tools\":[{\"type\":\"function\",\"name\":\"f\"}]}"])
        {
            var response = await scripted.Server.PostJsonAsync("/v1/responses", $"{{\"input\":\"hi\",{Tools},\"tool_choice\":{choice},\"parallel_tool_calls\":false}}");
            Assert.Equal("f", Text(Assert.Single(response.GetProperty("output").EnumerateArray()), "name"));
            Assert.Equal("f", Text(response.GetProperty("tools")[0], "name"));
        }

        var text = await scripted.Server.PostJsonAsync("/v1/responses", """{"input":"hi","text":{"format":{"type":"json_schema","name":"b","strict":true,"schema":{"type":"boolean"}}},"top_logprobs":2}""");
        var part = text.GetProperty("output")[0].GetProperty("content")[0];
        Assert.Contains(Text(part, "text"), (string[])["true", "false"]);
        Assert.Equal(2, part.GetProperty("logprobs")[0].GetProperty("top_logprobs").GetArrayLength());
    }

    [Fact]
    public async Task Items_become_a_conversation()
    {
        await using var scripted = await ScriptedServer.StartAsync();
        scripted.Says = "It rains.";
        await scripted.Server.PostJsonAsync("/v1/responses", """
            {"input":[{"role":"developer","content":"d"},{"type":"message","role":"user","content":[{"type":"input_text","text":"We"},{"type":"input_text","text":"ather?"}]},
            {"type":"reasoning","id":"rs_1","summary":[],"content":[{"type":"reasoning_text","text":"Hm."}]},
            {"type":"message","id":"msg_1","role":"assistant","status":"completed","content":[{"type":"output_text","text":"Let me see.","annotations":[]}]},
            {"type":"function_call","id":"fc_1","call_id":"c1","name":"f","arguments":"{\"a\":1}"},{"type":"function_call","call_id":"c2","name":"f","arguments":"{}"},
            {"type":"function_call_output","call_id":"c1","output":"rain"},{"type":"function_call_output","call_id":"c2","output":[{"type":"input_text","text":"sun"}]}]}
            """);
        var turns = scripted.Prompt!.Turns;
        Assert.Equal(["developer", "user", "assistant", "tool", "tool"], turns.Select(turn => turn.Role));
        Assert.Equal(("Weather?", "Let me see.", "Hm."), (turns[1].Content, turns[2].Content, turns[2].Reasoning));
        Assert.Equal([("c1", "f", "{\"a\":1}"), ("c2", "f", "{}")], turns[2].ToolCalls.Select(call => (call.Id, call.Name, call.Arguments)));
        Assert.Equal([("c1", "rain"), ("c2", "sun")], turns.Skip(3).Select(turn => (turn.ToolCallId, turn.Content)));
    }

    [Theory]
    [InlineData("{}", "input")]
    [InlineData("""{"input":5}""", "input")]
    [InlineData("""{"input":[]}""", "input")]
    [InlineData("""{"input":[5]}""", "input[0]")]
    [InlineData("""{"input":[{"type":"item_reference","id":"x"}]}""", "input[0].type")]
    [InlineData("""{"input":[{"role":"tool","content":"x"}]}""", "input[0].role")]
    [InlineData("""{"input":[{"role":"user","content":[{"type":"input_image","image_url":"http://x"}]}]}""", "input[0].content[0].type")]
    [InlineData("""{"input":[{"type":"function_call","name":"f"}]}""", "input[0].call_id")]
    [InlineData("""{"input":"x","previous_response_id":"resp_1"}""", "previous_response_id")]
    [InlineData("""{"input":"x","conversation":"c"}""", "conversation")]
    [InlineData("""{"input":"x","background":true}""", "background")]
    [InlineData("""{"input":"x","truncation":"auto"}""", "truncation")]
    [InlineData("""{"input":"x","max_tokens":5}""", "max_tokens")]
    [InlineData("""{"input":"x","n":2}""", "n")]
    [InlineData("""{"input":"x","max_output_tokens":0}""", "max_output_tokens")]
    [InlineData("""{"input":"x","max_output_tokens":100000}""", "max_output_tokens")]
    [InlineData("""{"input":"x","temperature":3}""", "temperature")]
    [InlineData("""{"input":"x","reasoning":{"effort":"huge"}}""", "reasoning.effort")]
    [InlineData("""{"input":"x","tools":[{"type":"web_search"}]}""", "tools[0].type")]
    [InlineData("""{"input":"x","tools":[{"type":"function"}]}""", "tools[0].name")]
    [InlineData("""{"input":"x","text":{"format":{"type":"json_schema","schema":{"not":{}}}}}""", "text.format.schema.not")]
    [InlineData("""{"input":"x","text":{"format":{"type":"yaml"}}}""", "text.format.type")]
    public async Task What_cannot_be_done_is_a_400_that_names_the_place(string body, string path)
    {
        await using var scripted = await ScriptedServer.StartAsync();
        var error = (await scripted.Server.PostJsonAsync("/v1/responses", body, 400)).GetProperty("error");
        Assert.Equal(path, error.GetProperty("param").GetString());
    }

    [Fact]
    public async Task Hostile_values_of_every_field_are_answered_or_refused()
    {
        await using var scripted = await ScriptedServer.StartAsync();
        scripted.Says = "x";
        string[] values = ["null", "true", "5", "-1", "1e999", "\"\"", "\"x\"", "\"\\ud800\"", "[]", "[null]", "[{}]", "{}", "{\"format\":5}", "{\"format\":{\"type\":\"json_schema\"}}", "{\"type\":\"x\"}", "{\"effort\":[]}", "{\"a\":{\"\\udc00\":1}}"];
        foreach (var name in ResponseReader.KnownFields.Concat(ResponseReader.Ignored).Append("a_field_of_next_year"))
        {
            foreach (var value in values)
            {
                using var response = await scripted.Server.PostAsync("/v1/responses", name == "input" ? $"{{\"input\":{value}}}" : $"{{\"input\":\"x\",\"{name}\":{value}}}");
                var status = (int)response.StatusCode;
                Assert.True(status is 200 or 400 || (name == "model" && status == 404), $"{name} = {value}: {status}");
                Assert.True(status == 200 || !ResponseReader.Ignored.Contains(name) || value.Contains("\\u"), $"{name} = {value}: {status}");
            }
        }
    }

    [Fact]
    public async Task A_failure_in_the_stream_is_an_event_of_its_own()
    {
        await using var server = await TestServer.StartAsync(backend: () => new Sals.Testing.FakeBackend(slots: 8, maxModelLength: 1024) { FaultAtStep = 20, OnSubmit = _ => Thread.Sleep(100) });
        using var response = await server.PostAsync("/v1/responses", """{"input":" 1","stream":true,"ignore_eos":true,"max_output_tokens":500}""");
        var text = await response.Content.ReadAsStringAsync();
        Assert.Contains("event: response.failed", text);
        Assert.Contains("\"status\":\"failed\"", text);
    }

    private static string? Text(JsonElement element, string name) => element.GetProperty(name).GetString();

    /// <summary>Without what differs between two answers to one request.</summary>
    private static string Strip(JsonElement response) => System.Text.RegularExpressions.Regex.Replace(
        response.GetRawText(), "\"(id|call_id)\":\"[^\"]*\"|\"(created_at|completed_at|cached_tokens)\":[0-9]+", "");
}
