using System.Text.Json.Nodes;
using Sals.Engine.Text;
using Sals.Engine.Text.Jinja;
using Xunit;

namespace Sals.Engine.Tests.Text.Oracles;

/// <summary>
/// Templates in the style of the families against @huggingface/jinja, byte for byte, on generated conversations. What the npm package does otherwise than
/// Python's Jinja2, which Hugging Face renders with, stays out of the data and is pinned in LanguageTests instead: numbers with a zero fraction (one
/// number type in JavaScript), keys that look like integers (JavaScript objects reorder them), strip('\n') and its siblings (the package ignores the
/// argument and strips all white space), equality of equal messages (identity there), U+001C to U+001F at the ends of stripped text (white space in Python only), the
/// filter reject and others it lacks, booleans and lists printed without tojson.
/// </summary>
public class TemplateOracleTests
{
    private const int Cases = 400;

    [Theory]
    [InlineData("embedded")]
    [InlineData("llama-2")]
    [InlineData("llama-3.1")]
    [InlineData("mistral-v0.1")]
    [InlineData("mistral-v0.3")]
    [InlineData("qwen2.5")]
    [InlineData("qwen3")]
    [InlineData("features")]
    public void Renders_as_the_reference(string name)
    {
        var source = name == "embedded"
            ? TokenizerConfig.Read(TestTokenizers.EmbeddedModel).ChatTemplates["default"]
            : File.ReadAllText(Path.Combine(TestTokenizers.RepositoryRoot, "tests", "Sals.Engine.Tests", "Text", "Jinja", "Templates", name + ".jinja"));
        var template = ChatTemplate.Parse(source);
        var random = new Random(name.Length * 1009);
        var lines = LineCorpus.Lines(2000, seed: 33);
        var cases = Enumerable.Range(0, Cases).Select(i => Conversation(random, lines, i)).ToList();
        using var answer = NodeOracle.Run("render.mjs", new[] { new { template = source, cases } });
        var rendered = 0;
        foreach (var (variables, expected) in cases.Zip(answer.RootElement[0].EnumerateArray()))
        {
            if (expected.TryGetProperty("text", out var text))
            {
                rendered++;
                Assert.Equal(text.GetString(), Render(template, variables));
            }
            else
            {
                // the reference's own errors have other words than ours, the template's have the same
                var reason = expected.GetProperty("error").GetString()!;
                var error = Record.Exception(() => Render(template, variables)) as TemplateException;
                Assert.True(error is { RaisedByTemplate: true } ? error.Message == reason : error is not null, $"the reference fails with: {reason}; here: {error?.Message}");
            }
        }

        Assert.True(rendered >= Cases / 4, $"only {rendered} of {Cases} conversations fit the template");
    }

    private static string Render(ChatTemplate template, JsonObject variables)
    {
        var others = variables.Where(pair => pair.Key is not ("messages" or "tools" or "add_generation_prompt"))
            .ToDictionary(pair => pair.Key, pair => JinjaValue.FromJson(pair.Value));
        return template.Render(
            JinjaValue.FromJson(variables["messages"]),
            (bool)variables["add_generation_prompt"]!,
            variables["tools"] is { } tools ? JinjaValue.FromJson(tools) : null,
            others).Text;
    }

    private static JsonObject Conversation(Random random, List<string> lines, int index)
    {
        var toolsInUse = index % 3 == 0;
        var messages = new JsonArray();
        if (random.Next(2) == 0)
        {
            messages.Add(Message("system", Line(random, lines)));
        }

        for (var turn = random.Next(1, 6); turn > 0; turn--)
        {
            var question = Message("user", Line(random, lines));
            question["name"] = $"user{turn}";
            messages.Add(question);
            if (toolsInUse && random.Next(2) == 0)
            {
                AddToolRound(random, lines, messages);
            }

            if (turn > 1 || random.Next(4) == 0)
            {
                messages.Add(Message("assistant", random.Next(4) == 0 ? $"<think>\n{Line(random, lines)}\n</think>\n\n{Line(random, lines)}" : Line(random, lines)));
            }
        }

        if (index % 17 == 0)
        {
            messages.Add(Message("user", "twice"));
        }

        var variables = new JsonObject
        {
            ["messages"] = messages,
            ["tools"] = toolsInUse ? Tools(random, lines) : null,
            ["add_generation_prompt"] = random.Next(2) == 0,
            ["bos_token"] = "<s>",
            ["eos_token"] = "</s>",
        };
        if (random.Next(4) == 0)
        {
            variables["enable_thinking"] = random.Next(2) == 0;
            variables["date_string"] = "01 Jan 2026";
            variables["tools_in_user_message"] = random.Next(2) == 0;
        }

        if (random.Next(6) == 0)
        {
            variables["builtin_tools"] = new JsonArray("code_interpreter", "brave_search", "get_weather");
        }

        return variables;
    }

    private static void AddToolRound(Random random, List<string> lines, JsonArray messages)
    {
        var calls = new JsonArray();
        for (var n = random.Next(4) == 0 ? 2 : 1; n > 0; n--)
        {
            calls.Add(new JsonObject
            {
                ["id"] = $"call{random.Next(10000, 99999)}",
                ["type"] = "function",
                ["function"] = new JsonObject { ["name"] = random.Next(2) == 0 ? "get_weather" : "lookup", ["arguments"] = Value(random, lines, 0, mustBeObject: true) },
            });
        }

        var call = Message("assistant", random.Next(2) == 0 ? "" : Line(random, lines));
        call["tool_calls"] = calls;
        messages.Add(call);
        foreach (var one in calls)
        {
            var result = Message("tool", Line(random, lines));
            result["tool_call_id"] = (string)one!["id"]!;
            messages.Add(result);
        }
    }

    private static JsonArray Tools(Random random, List<string> lines)
    {
        var tools = new JsonArray();
        foreach (var name in new[] { "get_weather", "lookup" }[..random.Next(1, 3)])
        {
            tools.Add(new JsonObject
            {
                ["type"] = "function",
                ["function"] = new JsonObject
                {
                    ["name"] = name,
                    ["description"] = Line(random, lines),
                    ["parameters"] = new JsonObject
                    {
                        ["type"] = "object",
                        ["properties"] = new JsonObject
                        {
                            ["city"] = new JsonObject { ["type"] = "string", ["description"] = Line(random, lines) },
                            ["days"] = new JsonObject { ["type"] = "integer", ["enum"] = new JsonArray(1, 2, random.Next(100)) },
                            ["extra"] = Value(random, lines, 0, mustBeObject: true),
                        },
                        ["required"] = new JsonArray("city"),
                    },
                },
            });
        }

        return tools;
    }

    private static JsonNode? Value(Random random, List<string> lines, int depth, bool mustBeObject)
    {
        switch (mustBeObject ? 5 : random.Next(depth > 2 ? 4 : 6))
        {
            case 0:
                return random.Next(-1000, 1000);
            case 1:
                return random.Next(2) == 0;
            case 2:
                return null;
            case 3:
                return random.Next(3) == 0 ? random.Next(1, 1000) + 0.25 : Line(random, lines);
            case 4:
                return new JsonArray([.. Enumerable.Range(0, random.Next(4)).Select(_ => Value(random, lines, depth + 1, mustBeObject: false))]);
            default:
                var entries = new JsonObject();
                for (var n = random.Next(4); n > 0; n--)
                {
                    entries[random.Next(5) == 0 ? "k " + Line(random, lines) : $"key{n}"] = Value(random, lines, depth + 1, mustBeObject: false);
                }

                return entries;
        }
    }

    private static JsonObject Message(string role, string content) => new() { ["role"] = role, ["content"] = content };

    private static string Line(Random random, List<string> lines)
    {
        var line = lines[random.Next(lines.Count)].Trim('\u001C', '\u001D', '\u001E', '\u001F', '\u0085');
        return line.Trim().Length == 0 || line.Trim().Length != line.TrimStart('\n').TrimEnd('\n').Length ? "plain" : line;
    }
}
