using System.Text.Json;
using Sals.Engine.Text;
using Sals.Engine.Text.Answers;
using Sals.Server.Api;
using Sals.Server.Hosting;
using Sals.Server.Options;
using Sals.Server.Tests.Flow;
using Xunit;

namespace Sals.Server.Tests.Hosting;

/// <summary>The families' own templates: what they are recognised as, and that a call printed by one is read back by the parser of its form.</summary>
public class ChatRenderingTests
{
    private static readonly JsonElement Tool = JsonElement.Parse(
        """{"type":"function","function":{"name":"get_weather","description":"Weather of a city","parameters":{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}}}""");

    [Theory]
    [InlineData("qwen2.5", ToolCallFormat.Hermes, ReasoningStart.Closed)]
    [InlineData("qwen3", ToolCallFormat.Hermes, ReasoningStart.Optional)]
    [InlineData("llama-3.1", ToolCallFormat.Llama, ReasoningStart.Closed)]
    [InlineData("mistral-v0.3", ToolCallFormat.Mistral, ReasoningStart.Closed)]
    [InlineData("mistral-v0.1", null, ReasoningStart.Closed)]
    [InlineData("llama-2", null, ReasoningStart.Closed)]
    public void A_template_says_how_its_model_writes(string name, ToolCallFormat? calls, ReasoningStart reasoning)
    {
        var formats = AnswerFormats.Resolve(SalsOptions.Default, Template(name), new NumberTokenizer());
        Assert.Equal((calls is not null, calls ?? ToolCallFormat.Hermes, reasoning), (formats.CallsKnown, formats.Calls, formats.Reasoning));
    }

    [Fact]
    public void Settings_win_over_the_template()
    {
        var options = SalsOptions.Default with { ToolCallParser = "llama3_json", ReasoningParser = "deepseek_r1" };
        var formats = AnswerFormats.Resolve(options, Template("qwen3"), new NumberTokenizer());
        Assert.Equal((ToolCallFormat.Llama, ReasoningStart.Open), (formats.Calls, formats.Reasoning));
        Assert.Equal(ReasoningStart.Closed, AnswerFormats.Resolve(options with { ReasoningParser = "none" }, Template("qwen3"), new NumberTokenizer()).Reasoning);
        Assert.Equal(ToolCallFormat.MistralArguments, AnswerFormats.Resolve(options with { ToolCallParser = "mistral" }, Template("qwen3"), new ByteTokenizer()).Calls);
    }

    [Theory]
    [InlineData("qwen2.5", ToolCallFormat.Hermes)]
    [InlineData("qwen3", ToolCallFormat.Hermes)]
    [InlineData("llama-3.1", ToolCallFormat.Llama)]
    [InlineData("mistral-v0.3", ToolCallFormat.Mistral)]
    public void A_call_that_a_template_prints_is_read_back(string name, ToolCallFormat format)
    {
        var call = new ChatToolCall("abcDEF123", "get_weather", "{\"city\": \"S\\u00e3o \\\"P\\\" </tool_call> {}\"}");
        ChatTurn[] turns =
        [
            new("user", "Weather?"),
            new("assistant", "") { ToolCalls = [call] },
            new("tool", "rainy") { ToolCallId = call.Id },
        ];
        // without tools: some templates print an example call in their instructions
        var text = ChatRendering.With(Template(name))(new ChatPrompt(turns[..2]) { AddGenerationPrompt = false }).Text;
        var parser = new AnswerParser(new AnswerLayout { Calls = format, ToolNames = new HashSet<string> { "get_weather" } });
        var at = text.IndexOf(format == ToolCallFormat.Llama ? "{\"name\"" : format == ToolCallFormat.Hermes ? "<tool_call>" : "[TOOL_CALLS]", StringComparison.Ordinal);
        Assert.True(at > 0, text);
        var parts = parser.Append(text[at..]);
        Assert.Equal(new AnswerPart(AnswerPartKind.Call, "get_weather"), parts[0]);
        Assert.Equal("São \"P\" </tool_call> {}", JsonElement.Parse(parts[1].Text).GetProperty("city").GetString());

        var whole = ChatRendering.With(Template(name))(new ChatPrompt(turns) { Tools = [Tool] });
        Assert.Contains("get_weather", whole.Text);
        Assert.Contains("rainy", whole.Text);
        Assert.Contains("Weather of a city", whole.Text);
        // what tools and their answers say can never be a control token
        Assert.Contains(whole.Segments(), segment => !segment.Trusted && segment.Text.Contains("rainy"));
        Assert.Contains(whole.Segments(), segment => !segment.Trusted && segment.Text.Contains("Weather of a city"));
    }

    [Theory]
    [InlineData("{\"city\": ")]
    [InlineData("no JSON")]
    [InlineData("")]
    [InlineData("[1]")]
    [InlineData("{\"a\":1,\"a\":2}")]
    public void Arguments_that_are_no_JSON_do_not_end_a_conversation(string arguments)
    {
        foreach (var name in (string[])["qwen2.5", "qwen3", "llama-3.1", "mistral-v0.3"])
        {
            var turns = new ChatTurn[] { new("user", "x"), new("assistant", "") { ToolCalls = [new ChatToolCall("abcDEF123", "f", arguments)] }, new("tool", "y") { ToolCallId = "abcDEF123" } };
            Assert.Contains("y", ChatRendering.With(Template(name))(new ChatPrompt(turns) { Tools = [Tool] }).Text);
        }
    }

    [Fact]
    public void Qwen3_ends_reasoning_in_the_prompt_when_it_is_switched_off()
    {
        var template = Template("qwen3");
        var formats = AnswerFormats.Resolve(SalsOptions.Default, template, new NumberTokenizer());
        var prompt = new ChatPrompt([new ChatTurn("user", "x")]);
        Assert.Equal(ReasoningStart.Optional, formats.After(ChatRendering.With(template)(prompt).Text));
        prompt = prompt with { Arguments = new Dictionary<string, object> { ["enable_thinking"] = false } };
        Assert.Equal(ReasoningStart.Closed, formats.After(ChatRendering.With(template)(prompt).Text));
        Assert.Equal(ReasoningStart.Open, formats.After("<|im_start|>assistant\n<think>\n"));
    }

    private static ChatTemplate Template(string name) =>
        ChatTemplate.Parse(File.ReadAllText(Path.Combine(Outside.Root, "tests", "Sals.Engine.Tests", "Text", "Jinja", "Templates", name + ".jinja")), new TokenizerConfig { BosToken = "<s>", EosToken = "</s>" });
}
