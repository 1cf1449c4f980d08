using System.Text;
using Sals.Engine.Grammar;
using Sals.Engine.Text.Answers;
using Xunit;

namespace Sals.Engine.Tests.Grammar;

/// <summary>Calls that masks let through are calls to the parser of the same form, with arguments that fit; with and without reasoning before them.</summary>
public class ToolCallGrammarTests
{
    private static readonly string[] Specials = ["[TOOL_CALLS]", "[ARGS]", "</think>", "<think>"];

    private static readonly (string Name, string Schema)[] Tools =
    [
        ("get_weather", """{"type":"object","properties":{"city":{"type":"string","maxLength":8},"unit":{"enum":["c","f"]}},"required":["city"]}"""),
        ("add", """{"type":"object","properties":{"a":{"type":"integer"},"b":{"type":"integer"}},"required":["a","b"],"additionalProperties":false}"""),
        ("tree", """{"type":"object","properties":{"n":{"$ref":"#/$defs/n"}},"$defs":{"n":{"type":"object","properties":{"kids":{"type":"array","items":{"$ref":"#/$defs/n"},"maxItems":2}}}}}"""),
        ("now", """{"type":"object","properties":{}}"""),
    ];

    [Theory]
    [InlineData(ToolCallFormat.Hermes)]
    [InlineData(ToolCallFormat.Llama)]
    [InlineData(ToolCallFormat.Mistral)]
    [InlineData(ToolCallFormat.MistralArguments)]
    public void What_the_masks_let_through_is_parsed_as_calls_that_fit(ToolCallFormat format)
    {
        const int seed = 31;
        var random = new Random(seed);
        var several = 0;
        var compiler = new GrammarCompiler(Trie);
        foreach (var start in Enum.GetValues<ReasoningStart>())
        {
            var grammar = compiler.Compile(GrammarSource.ToolCalls(format, [.. Tools.Select(Signature)], several: true).AfterReasoning(start));
            var ended = 0;
            for (var run = 0; run < 60; run++)
            {
                var (_, ids, complete) = GrammarWalk.Run(grammar, compiler.Trie, random, 700);
                if (!complete)
                {
                    continue;
                }

                ended++;
                var text = TextOf(compiler.Trie, ids);
                var calls = Calls(format, start, text, out var content);
                Assert.True(calls.Count > 0 && content.Length == 0, $"{text}: {calls.Count} calls, content '{content}', seed {seed}, run {run}");
                several += calls.Count > 1 ? 1 : 0;
                foreach (var (name, arguments) in calls)
                {
                    var schema = GrammarWalk.Json(Tools.Single(tool => tool.Name == name).Schema);
                    Assert.True(SchemaCheck.IsValid(schema, GrammarWalk.Json(arguments), schema), $"{name}({arguments}), seed {seed}, run {run}");
                }
            }

            Assert.InRange(ended, 5, 60);
        }

        // Llama's template refuses more than one
        Assert.Equal(format == ToolCallFormat.Llama, several == 0);
    }

    [Fact]
    public void One_call_where_one_is_allowed()
    {
        var grammar = new GrammarCompiler(Trie).Compile(GrammarSource.ToolCalls(ToolCallFormat.Hermes, [new ToolSignature("f", null, "")], several: false));
        Assert.True(GrammarWalk.Matches(grammar, "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>"));
        Assert.False(GrammarWalk.Matches(grammar, "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>"));
        Assert.False(GrammarWalk.Matches(grammar, "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>"));
    }

    [Fact]
    public void A_keyword_that_cannot_be_kept_is_named_with_its_tool()
    {
        var tools = new[] { Signature(Tools[0]), new ToolSignature("g", GrammarWalk.Json("""{"type":"object","properties":{"x":{"type":"array","uniqueItems":true}}}"""), "tools[1].function.parameters") };
        var exception = Assert.Throws<GrammarException>(() => GrammarWalk.Compiler.Compile(GrammarSource.ToolCalls(ToolCallFormat.Hermes, tools, several: true)));
        Assert.Equal("tools[1].function.parameters.properties.x.uniqueItems", exception.Path);
    }

    [Theory]
    [InlineData(ReasoningStart.Open, "hm</think>\n\nyes", true)]
    [InlineData(ReasoningStart.Open, "</think>\n\nno", true)]
    [InlineData(ReasoningStart.Open, "a</th</think>\n\nno", true)]
    [InlineData(ReasoningStart.Open, "yes", false)]
    [InlineData(ReasoningStart.Open, "hm</think>yes", false)]
    [InlineData(ReasoningStart.Open, "hm</think>\n\nmaybe", false)]
    [InlineData(ReasoningStart.Optional, "yes", true)]
    [InlineData(ReasoningStart.Optional, "<think>hm é😀</think>\n\nyes", true)]
    [InlineData(ReasoningStart.Optional, "hm</think>\n\nyes", false)]
    [InlineData(ReasoningStart.Closed, "yes", true)]
    public void A_grammar_begins_behind_the_reasoning(ReasoningStart start, string text, bool expected) =>
        Assert.Equal(expected, GrammarWalk.Matches(GrammarWalk.Compiler.Compile(GrammarSource.Choice(["yes", "no"]).AfterReasoning(start)), text));

    [Fact]
    public void Text_or_calls_where_both_are_asked_for()
    {
        var source = GrammarSource.JsonSchema(GrammarWalk.Json("""{"type":"integer"}""")).Or(GrammarSource.ToolCalls(ToolCallFormat.Hermes, [new ToolSignature("f", null, "")], several: false));
        var grammar = GrammarWalk.Compiler.Compile(source);
        Assert.True(GrammarWalk.Matches(grammar, "42"));
        Assert.True(GrammarWalk.Matches(grammar, "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>"));
        Assert.False(GrammarWalk.Matches(grammar, "text"));
    }

    [Fact]
    public void A_mark_that_is_a_special_token_is_that_token()
    {
        var compiler = new GrammarCompiler(Trie);
        var matcher = new TokenMatcher(compiler.Compile(GrammarSource.ToolCalls(ToolCallFormat.Mistral, [new ToolSignature("f", null, "")], several: false)), []);
        Assert.Equal([900], GrammarWalk.Allowed(matcher));
        Assert.Equal(MatchResult.Open, matcher.Advance(900));
        Assert.True(GrammarWalk.Allows(matcher.Mask, '['));
        // and in no text
        matcher = new TokenMatcher(compiler.Regex(@"[\s\S]*"), []);
        Assert.DoesNotContain(900, GrammarWalk.Allowed(matcher));
    }

    [Fact]
    public void Reasoning_lets_every_ordinary_token_through_and_ends_with_its_special_token()
    {
        var compiler = new GrammarCompiler(Trie);
        var matcher = new TokenMatcher(compiler.Compile(GrammarSource.Choice(["yes"]).AfterReasoning(ReasoningStart.Open)), [GrammarWalk.Stop]);
        var allowed = GrammarWalk.Allowed(matcher);
        Assert.Equal(Enumerable.Range(0, 1000).Where(id => compiler.Trie.BytesOf(id) is var bytes && bytes.Length > 0 && bytes[0] != 0xFF).Append(902), allowed);
        Assert.Equal(MatchResult.Open, matcher.Advance('x'));
        Assert.Equal(MatchResult.Open, matcher.Advance(902));
        Assert.All(GrammarWalk.Allowed(matcher), id => Assert.Equal("\n"u8.ToArray(), compiler.Trie.BytesOf(id).ToArray()));
    }

    private static ToolSignature Signature((string Name, string Schema) tool) => new(tool.Name, GrammarWalk.Json(tool.Schema), "tools");

    /// <summary>The tokens of the walk, and the special ones from 900 on.</summary>
    private static TokenTrie Trie()
    {
        var tokens = GrammarWalk.Tokens.ToArray();
        // as for a real vocabulary: no ordinary token has the mark of special ones
        tokens[0xFF] = [];
        for (var i = 0; i < Specials.Length; i++)
        {
            tokens[900 + i] = [0xFF, .. Encoding.UTF8.GetBytes(Specials[i])];
        }

        return new TokenTrie(1000, tokens);
    }

    private static string TextOf(TokenTrie trie, List<int> ids) =>
        Encoding.UTF8.GetString([.. ids.SelectMany(id => trie.BytesOf(id) is [0xFF, .. var special] && special.Length > 0 ? special.ToArray() : trie.BytesOf(id).ToArray())]);

    private static List<(string Name, string Arguments)> Calls(ToolCallFormat format, ReasoningStart start, string text, out string content)
    {
        var parser = new AnswerParser(new AnswerLayout { Calls = format, Reasoning = start, ToolNames = Tools.Select(tool => tool.Name).ToHashSet() });
        var calls = new List<(string Name, string Arguments)>();
        content = "";
        foreach (var part in parser.Append(text).Concat(parser.Finish()))
        {
            switch (part.Kind)
            {
                case AnswerPartKind.Call:
                    calls.Add((part.Text, ""));
                    break;
                case AnswerPartKind.Arguments:
                    calls[^1] = (calls[^1].Name, calls[^1].Arguments + part.Text);
                    break;
                case AnswerPartKind.Content:
                    content += part.Text;
                    break;
            }
        }

        return calls;
    }
}
