using System.Text;
using Sals.Engine.Text.Answers;
using Xunit;

namespace Sals.Engine.Tests.Text.Answers;

/// <summary>Answers to parts: what each family writes, what it writes by mistake, and that no cut of the text changes anything.</summary>
public class AnswerParserTests
{
    private static readonly HashSet<string> Names = ["f", "get_weather", "g"];

    /// <summary>Format, text, and what it comes to: C content, R reasoning, name(arguments) for a call.</summary>
    public static readonly TheoryData<ToolCallFormat, string, string> Texts = new()
    {
        { ToolCallFormat.Hermes, "Hello, world.\n", "C[Hello, world.\n]" },
        { ToolCallFormat.Hermes, "<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": [1, {\"b\": \"}\"}]}}\n</tool_call>", "f({\"a\": [1, {\"b\": \"}\"}]})" },
        { ToolCallFormat.Hermes, "Let me see.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>\n<tool_call>\n{\"name\": \"g\", \"arguments\": {\"x\":1}}\n</tool_call>\n", "C[Let me see.]f({})g({\"x\":1})" },
        { ToolCallFormat.Hermes, "<tool_call>{\"arguments\": {\"a\": 1}, \"name\": \"f\"}</tool_call> and then", "f({\"a\": 1})C[ and then]" },
        { ToolCallFormat.Hermes, "<tool_call>{\"name\": \"f\"}</tool_call>", "f({})" },
        { ToolCallFormat.Hermes, "<tool_call>{\"name\": \"f\", \"arguments\": null}</tool_call>", "f({})" },
        { ToolCallFormat.Hermes, "<tool_call>{\"name\": \"f\", \"arguments\": \"{\\\"a\\\": 1}\"}</tool_call>", "f({\"a\": 1})" },
        { ToolCallFormat.Hermes, "<tool_call>{\"name\": \"f\", \"id\": 5, \"arguments\": {}, \"more\": [1e5, -0]}</tool_call>", "f({})" },
        { ToolCallFormat.Hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {}}}</tool_call>", "f({})" },
        { ToolCallFormat.Hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {}}<tool_call>{\"name\": \"g\", \"arguments\": {}}", "f({})g({})" },
        { ToolCallFormat.Hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {}} text", "f({})C[text]" },
        { ToolCallFormat.Hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": oops}}</tool_call> x", "f({\"a\": oops}})C[ x]" },
        { ToolCallFormat.Hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {\"a\": \"cut", "f({\"a\": \"cut)" },
        { ToolCallFormat.Hermes, "<tool_call>{\"name\": \"f\", \"arguments\": {} oops</tool_call>", "f({})C[oops</tool_call>]" },
        { ToolCallFormat.Hermes, "<tool_call>not json</tool_call>", "C[<tool_call>not json</tool_call>]" },
        { ToolCallFormat.Hermes, "<tool_call>\n{\"name\": 5, \"arguments\": {}}</tool_call>", "C[<tool_call>\n{\"name\": 5, \"arguments\": {}}</tool_call>]" },
        { ToolCallFormat.Hermes, "<tool_call>{\"name\": \"\", \"arguments\": {}}", "C[<tool_call>{\"name\": \"\", \"arguments\": {}}]" },
        { ToolCallFormat.Hermes, "<tool_call>{\"name\": \"\\ud800\", \"arguments\": {}}", "C[<tool_call>{\"name\": \"\\ud800\", \"arguments\": {}}]" },
        { ToolCallFormat.Hermes, "<tool_call>{\"arguments\": {}}</tool_call>", "C[<tool_call>{\"arguments\": {}}</tool_call>]" },
        { ToolCallFormat.Hermes, "a < b <tool <<tool_call>", "C[a < b <tool <<tool_call>]" },
        { ToolCallFormat.Hermes, "<tool_call><tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call>", "C[<tool_call>]f({})" },
        { ToolCallFormat.Llama, "{\"name\": \"f\", \"parameters\": {\"a\": 1}}", "f({\"a\": 1})" },
        { ToolCallFormat.Llama, "\n<|python_tag|>{\"type\": \"function\", \"name\": \"f\", \"parameters\": {}}", "f({})" },
        { ToolCallFormat.Llama, "{\"name\": \"f\", \"parameters\": {}}; {\"name\": \"g\", \"arguments\": {\"b\": 2}}", "f({})g({\"b\": 2})" },
        { ToolCallFormat.Llama, "{\"name\": \"unknown\", \"parameters\": {}}", "C[{\"name\": \"unknown\", \"parameters\": {}}]" },
        { ToolCallFormat.Llama, "{\"answer\": 42}", "C[{\"answer\": 42}]" },
        { ToolCallFormat.Llama, "{}", "C[{}]" },
        { ToolCallFormat.Llama, "{ is a brace", "C[{ is a brace]" },
        { ToolCallFormat.Llama, "Text {\"name\": \"f\", \"parameters\": {}}", "C[Text {\"name\": \"f\", \"parameters\": {}}]" },
        { ToolCallFormat.Llama, "Text <|python_tag|>{\"name\": \"f\", \"parameters\": {}}", "C[Text]f({})" },
        { ToolCallFormat.Llama, "<|python_tag|>brave_search.call(query=\"x\")", "C[brave_search.call(query=\"x\")]" },
        { ToolCallFormat.Llama, "{\"name\": \"f\", \"parameters\": {\"a\": tru", "f({\"a\": tru)" },
        { ToolCallFormat.Llama, "{\"name\": \"f\", \"parameters\": {}}; and more", "f({})C[; and more]" },
        { ToolCallFormat.Mistral, "[TOOL_CALLS] [{\"name\": \"f\", \"arguments\": {\"a\": 1}, \"id\": \"123456789\"}, {\"name\": \"g\", \"arguments\": {}}]", "f({\"a\": 1})g({})" },
        { ToolCallFormat.Mistral, "Sure.[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {}}]", "C[Sure.]f({})" },
        { ToolCallFormat.Mistral, "[TOOL_CALLS]{\"name\": \"f\", \"arguments\": {}}", "f({})" },
        { ToolCallFormat.Mistral, "[TOOL_CALLS]f[ARGS]{\"a\": 1}[TOOL_CALLS]g{\"b\": 2}", "f({\"a\": 1})g({\"b\": 2})" },
        { ToolCallFormat.MistralArguments, "[TOOL_CALLS]get_weather[CALL_ID]abc123XYZ[ARGS]{\"a\": {}}", "get_weather({\"a\": {}})" },
        { ToolCallFormat.MistralArguments, "[TOOL_CALLS]f[ARGS]{oops[TOOL_CALLS]g[ARGS]{}", "f({oops)g({})" },
        { ToolCallFormat.Mistral, "[TOOL_CALLS] []", "C[[TOOL_CALLS] []]" },
        { ToolCallFormat.Mistral, "[TOOL_CALLS] and [1]", "C[[TOOL_CALLS] and [1]]" },
        { ToolCallFormat.Mistral, "[TOOL_CALLS]f[OTHER]{}", "C[[TOOL_CALLS]f[OTHER]{}]" },
        { ToolCallFormat.Mistral, "[TOOL_CALLS]", "C[[TOOL_CALLS]]" },
        { ToolCallFormat.Mistral, "[1] is a footnote [TOOL", "C[[1] is a footnote [TOOL]" },
    };

    public static readonly TheoryData<ReasoningStart, string, string> Thoughts = new()
    {
        { ReasoningStart.Optional, "<think>\nHm.\nYes.\n</think>\n\nHello", "R[Hm.\nYes.]C[Hello]" },
        { ReasoningStart.Optional, "Hello </think> there", "C[Hello </think> there]" },
        { ReasoningStart.Optional, " \n<think>a</think>b", "R[a]C[b]" },
        { ReasoningStart.Optional, "<think>never ends", "R[never ends]" },
        { ReasoningStart.Optional, "<think>\n\n</think>\n\nHello", "C[Hello]" },
        { ReasoningStart.Optional, "<thin ice", "C[<thin ice]" },
        { ReasoningStart.Optional, "  <thi", "C[  <thi]" },
        { ReasoningStart.Optional, "", "" },
        { ReasoningStart.Optional, "\n", "C[\n]" },
        { ReasoningStart.Open, "I think\n</think>\n\n\nHello", "R[I think]C[\nHello]" },
        { ReasoningStart.Open, "<think>\nI think</think>Hello", "R[I think]C[Hello]" },
        { ReasoningStart.Open, "</think>Hello", "C[Hello]" },
        { ReasoningStart.Open, "a </thi</think></think>b", "R[a </thi]C[</think>b]" },
        { ReasoningStart.Open, "a </thi", "R[a </thi]" },
        { ReasoningStart.Closed, "<think>a</think>", "C[<think>a</think>]" },
        { ReasoningStart.Open, "Use it: <tool_call>{\"name\":\"f\"}</tool_call></think>\n\n<tool_call>{\"name\": \"g\", \"arguments\": {}}</tool_call>",
            "R[Use it: <tool_call>{\"name\":\"f\"}</tool_call>]g({})" },
    };

    private static readonly string[] Fragments =
    [
        "<tool_call>", "</tool_call>", "<tool", "_call>", "<think>", "</think>", "</", "[TOOL_CALLS]", "[TOOL", "[ARGS]", "[CALL_ID]", "<|python_tag|>", "{\"name\": \"f\"", "\"name\"", ", \"arguments\": {",
        ", \"parameters\": ", "{", "}", "[", "]", ",", ":", "\"", "\\", "\\u00e9", "\\ud83d", "1", "-0.5e3", "true", "nul", " ", "\n", "\n\n", "text", "é😀", "; ", "f", "{\"a\": [1, 2]}", "\t", "\0",
    ];

    [Theory]
    [MemberData(nameof(Texts))]
    public void Calls_and_text_are_told_apart(ToolCallFormat format, string text, string expected) => Assert.Equal(expected, Show(Layout(format), [text]));

    [Theory]
    [MemberData(nameof(Thoughts))]
    public void Reasoning_is_split_off(ReasoningStart start, string text, string expected) =>
        Assert.Equal(expected, Show(new AnswerLayout { Reasoning = start, Calls = text.Contains("tool") ? ToolCallFormat.Hermes : null }, [text]));

    [Fact]
    public void Only_the_first_call_is_given_where_one_is_allowed()
    {
        const string text = "<tool_call>{\"name\": \"f\", \"arguments\": {}}</tool_call><tool_call>{\"name\": \"g\", \"arguments\": {\"a\": x}}</tool_call>";
        Assert.Equal("f({})", Show(Layout(ToolCallFormat.Hermes) with { OneCall = true }, [text]));
    }

    [Fact]
    public void Arguments_come_while_they_are_written()
    {
        var parser = new AnswerParser(Layout(ToolCallFormat.Hermes));
        Assert.Empty(parser.Append("<tool_call>\n{\"name\": \"f\", \"argu"));
        Assert.Equal([new AnswerPart(AnswerPartKind.Call, "f"), new AnswerPart(AnswerPartKind.Arguments, "{\"a\"")], parser.Append("ments\": {\"a\""));
        Assert.Equal([new AnswerPart(AnswerPartKind.Arguments, ": 1}")], parser.Append(": 1}}"));
        Assert.Empty(parser.Append("</tool_call>"));
        Assert.Empty(parser.Finish());
    }

    [Fact]
    public void Text_is_not_held_back_longer_than_a_mark_could_begin_in_it()
    {
        var parser = new AnswerParser(Layout(ToolCallFormat.Hermes));
        Assert.Equal("a b", parser.Append("a b <to").Single().Text);
        Assert.Equal(" <to me", parser.Append(" me").Single().Text);
    }

    /// <summary>Any cut of any text gives the same parts, and content is never lost where there is no call.</summary>
    [Fact]
    public void Every_cut_of_random_text_gives_the_same_parts()
    {
        const int seed = 20261123;
        var random = new Random(seed);
        var texts = Texts.Select(row => row.Data.Item2).Concat(Thoughts.Select(row => row.Data.Item2)).ToArray();
        for (var i = 0; i < 20_000; i++)
        {
            var text = i < texts.Length ? texts[i]
                : random.Next(3) == 0 ? Mutated(texts[random.Next(texts.Length)], random)
                : string.Concat(Enumerable.Range(0, random.Next(1, 14)).Select(_ => Fragments[random.Next(Fragments.Length)]));
            foreach (var format in (ToolCallFormat?[])[ToolCallFormat.Hermes, ToolCallFormat.Llama, ToolCallFormat.Mistral, null])
            {
                var layout = new AnswerLayout { Calls = format, ToolNames = Names, Reasoning = (ReasoningStart)random.Next(3), OneCall = random.Next(4) == 0 };
                var whole = Show(layout, [text]);
                var single = Show(layout, text.Select(c => c.ToString()));
                var cut = Show(layout, Cut(text, random));
                Assert.True(whole == single && whole == cut, $"{format} {layout.Reasoning}: {text}\nwhole  {whole}\nsingle {single}\ncut    {cut}\nseed {seed}, run {i}");
                Assert.True(layout.Reasoning != ReasoningStart.Closed || whole.Contains('(') || whole == (text.Length == 0 ? "" : $"C[{text}]")
                    || (format == ToolCallFormat.Llama && text.Contains(ToolCallMarks.Llama)), $"{format}: {text} became {whole}, seed {seed}, run {i}");
            }
        }
    }

    [Fact]
    public void Long_odd_text_takes_time_in_proportion_to_its_length()
    {
        foreach (var unit in (string[])["<tool_call>", "<tool_call>{\"name\": \"f\"", "[TOOL_CALLS][", "{\"name\": \"f\", \"arguments\": [", "<", "\\", "  ", "</think>"])
        {
            var text = string.Concat(Enumerable.Repeat(unit, 400_000 / unit.Length));
            foreach (var format in Enum.GetValues<ToolCallFormat>())
            {
                var started = System.Diagnostics.Stopwatch.GetTimestamp();
                Show(Layout(format) with { Reasoning = ReasoningStart.Optional }, [text]);
                Assert.InRange(System.Diagnostics.Stopwatch.GetElapsedTime(started).TotalSeconds, 0, 5);
            }
        }
    }

    private static AnswerLayout Layout(ToolCallFormat format) => new() { Calls = format, ToolNames = Names };

    private static string Mutated(string text, Random random)
    {
        var chars = new StringBuilder(text);
        for (var edits = random.Next(1, 4); edits > 0 && chars.Length > 0; edits--)
        {
            var at = random.Next(chars.Length);
            _ = random.Next(3) switch
            {
                0 => chars.Remove(at, 1),
                1 => chars.Insert(at, Fragments[random.Next(Fragments.Length)]),
                _ => chars.Replace(chars[at], (char)random.Next(32, 127), at, 1),
            };
        }

        return chars.ToString();
    }

    private static IEnumerable<string> Cut(string text, Random random)
    {
        for (var at = 0; at < text.Length;)
        {
            var length = Math.Min(text.Length - at, random.Next(1, 9));
            yield return text.Substring(at, length);
            at += length;
        }
    }

    private static string Show(AnswerLayout layout, IEnumerable<string> pieces)
    {
        var parser = new AnswerParser(layout);
        var shown = new StringBuilder();
        AnswerPartKind? open = null;
        var index = -1;
        foreach (var part in pieces.Select(parser.Append).Append(null).SelectMany(parts => parts ?? parser.Finish()))
        {
            Assert.NotEqual("", part.Text);
            if (part.Kind != open || part.Index != index || part.Kind == AnswerPartKind.Call)
            {
                shown.Append(open is AnswerPartKind.Content or AnswerPartKind.Reasoning ? "]" : open == AnswerPartKind.Arguments ? ")" : "");
                shown.Append(part.Kind switch { AnswerPartKind.Content => "C[", AnswerPartKind.Reasoning => "R[", AnswerPartKind.Arguments => "(", _ => "" });
            }

            shown.Append(part.Text);
            (open, index) = (part.Kind, part.Index);
        }

        return shown.Append(open is AnswerPartKind.Content or AnswerPartKind.Reasoning ? "]" : open == AnswerPartKind.Arguments ? ")" : "").ToString();
    }
}
