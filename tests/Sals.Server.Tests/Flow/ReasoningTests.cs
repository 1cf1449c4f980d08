using System.Text.Json;
using Sals.Engine.Text.Answers;
using Xunit;

namespace Sals.Server.Tests.Flow;

/// <summary>Reasoning over HTTP: split off whole and streamed, counted, left out on demand, and before answers that are held to a grammar.</summary>
public sealed class ReasoningTests
{
    private const string Says = "<think>\nHm, 6 × 7.\n</think>\n\n42";

    [Theory]
    [InlineData(ReasoningStart.Optional, "", Says)]
    [InlineData(ReasoningStart.Optional, "<think>\n", "Hm, 6 × 7.\n</think>\n\n42")]
    [InlineData(ReasoningStart.Open, "", "Hm, 6 × 7.\n</think>\n\n42")]
    public async Task It_is_a_field_of_its_own_whole_and_streamed(ReasoningStart start, string opening, string says)
    {
        await using var scripted = await ScriptedServer.StartAsync(reasoning: start, opening: opening);
        scripted.Says = says;
        var answer = await scripted.ChatAsync("\"seed\":1");
        var message = answer.GetProperty("choices")[0].GetProperty("message");
        Assert.Equal(("Hm, 6 × 7.", "Hm, 6 × 7.", "42"), (Text(message, "reasoning_content"), Text(message, "reasoning"), Text(message, "content")));
        Assert.InRange(answer.GetProperty("usage").GetProperty("completion_tokens_details").GetProperty("reasoning_tokens").GetInt32(), 12, 30);

        var deltas = (await scripted.StreamAsync("\"seed\":1")).Select(chunk => chunk.GetProperty("choices")[0].GetProperty("delta")).ToArray();
        Assert.Equal("Hm, 6 × 7.", string.Concat(deltas.Select(delta => Text(delta, "reasoning_content"))));
        Assert.Equal("42", string.Concat(deltas.Select(delta => Text(delta, "content"))));

        message = (await scripted.ChatAsync("\"include_reasoning\":false")).GetProperty("choices")[0].GetProperty("message");
        Assert.Equal((null, "42"), (Text(message, "reasoning_content"), Text(message, "content")));
        deltas = [.. (await scripted.StreamAsync("\"include_reasoning\":false")).Select(chunk => chunk.GetProperty("choices")[0].GetProperty("delta"))];
        Assert.All(deltas, delta => Assert.Null(Text(delta, "reasoning_content")));
    }

    [Fact]
    public async Task A_prompt_that_has_ended_it_gives_plain_content()
    {
        await using var scripted = await ScriptedServer.StartAsync(reasoning: ReasoningStart.Optional, opening: "<think>\n\n</think>\n\n");
        scripted.Says = "42 <think> no";
        var message = (await scripted.ChatAsync("\"reasoning_effort\":\"none\"")).GetProperty("choices")[0].GetProperty("message");
        Assert.Equal("42 <think> no", Text(message, "content"));
        Assert.Equal(false, scripted.Prompt!.Arguments["enable_thinking"]);
        Assert.Equal("none", scripted.Prompt!.Arguments["reasoning_effort"]);
    }

    [Fact]
    public async Task A_grammar_begins_behind_it_and_the_answer_cannot_end_in_it()
    {
        await using var scripted = await ScriptedServer.StartAsync(reasoning: ReasoningStart.Open);
        scripted.Says = "I think </think>\n\nyes";
        const string yes = "\"structured_outputs\":{\"choice\":[\"yes\",\"no\"]}";
        var choice = (await scripted.ChatAsync(yes)).GetProperty("choices")[0];
        Assert.Equal(("I think", "yes", "stop"), (Text(choice.GetProperty("message"), "reasoning_content"), Text(choice.GetProperty("message"), "content"), choice.GetProperty("finish_reason").GetString()));

        // a model that would end at once goes on, and is cut by the limit
        scripted.Says = "I think";
        choice = (await scripted.ChatAsync(yes + ",\"max_tokens\":20")).GetProperty("choices")[0];
        Assert.Equal("length", choice.GetProperty("finish_reason").GetString());

        scripted.Says = "I think </think>oops";
        choice = (await scripted.ChatAsync("\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"b\",\"schema\":{\"type\":\"boolean\"}}}")).GetProperty("choices")[0];
        Assert.Contains(Text(choice.GetProperty("message"), "content"), (string[])["true", "false"]);
    }

    [Fact]
    public async Task Calls_come_behind_it()
    {
        await using var scripted = await ScriptedServer.StartAsync(reasoning: ReasoningStart.Optional);
        scripted.Says = "<think>\nI need f.\n</think>\n\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>";
        foreach (var choice in (string[])["auto", "required"])
        {
            var answer = (await scripted.ChatAsync($"\"tools\":[{{\"type\":\"function\",\"function\":{{\"name\":\"f\"}}}}],\"tool_choice\":\"{choice}\"")).GetProperty("choices")[0];
            Assert.Equal("I need f.", Text(answer.GetProperty("message"), "reasoning_content"));
            Assert.Equal("f", answer.GetProperty("message").GetProperty("tool_calls")[0].GetProperty("function").GetProperty("name").GetString());
            Assert.Null(Text(answer.GetProperty("message"), "content"));
        }
    }

    private static string? Text(JsonElement element, string name) => element.TryGetProperty(name, out var value) ? value.GetString() : null;
}
