using System.Globalization;
using Sals.Engine.Grammar;
using Xunit;

namespace Sals.Engine.Tests.Grammar;

public class JsonSchemaGrammarTests
{
    public static readonly TheoryData<string> Schemas =
    [
        "{}",
        "true",
        """{"type":"object"}""",
        """{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}},"required":["name","age"],"additionalProperties":false}""",
        """{"type":"object","properties":{"a":{"type":"boolean"},"b":{"type":"null"},"c":{"type":"number"}},"required":["b"]}""",
        """{"type":"object","properties":{"a":{"type":"integer"},"ab":{"type":"integer"},"é😀":{"type":"integer"}},"additionalProperties":{"type":"string"}}""",
        """{"type":"object","additionalProperties":{"type":"array","items":{"type":"boolean"}}}""",
        """{"type":"array","items":{"type":"integer","minimum":-12,"maximum":345},"minItems":2,"maxItems":5}""",
        """{"type":"array","prefixItems":[{"type":"string"},{"type":"integer"}],"items":false,"minItems":2,"maxItems":2}""",
        """{"type":"string","minLength":2,"maxLength":7}""",
        """{"type":"string","pattern":"^[A-Z]{2}\\d+$"}""",
        """{"type":"string","pattern":"^b\\\"c"}""",
        """{"type":"string","format":"date-time"}""",
        """{"type":"string","format":"uuid"}""",
        """{"type":"string","format":"ipv4"}""",
        """{"type":"string","format":"date"}""",
        """{"enum":["red","gr\"een\n",5,null,true,{"a":[1]},"日本"]}""",
        """{"type":"string","enum":["x",5]}""",
        """{"const":{"k":[1,2.5,"x"]}}""",
        """{"type":"number","minimum":0,"maximum":1}""",
        """{"type":"number","exclusiveMinimum":-2.5,"exclusiveMaximum":17}""",
        """{"type":"number","minimum":100}""",
        """{"type":"integer","exclusiveMinimum":0}""",
        """{"type":"integer","maximum":-7}""",
        """{"type":["string","null","integer"],"maxLength":3,"minimum":5}""",
        """{"anyOf":[{"type":"integer"},{"type":"array","items":{"type":"string","maxLength":2},"maxItems":2}]}""",
        """{"oneOf":[{"type":"object","properties":{"k":{"const":"a"},"v":{"type":"integer"}},"required":["k"]},{"type":"object","properties":{"k":{"const":"b"}},"required":["k"]}]}""",
        """{"$ref":"#/$defs/node","$defs":{"node":{"type":"object","properties":{"v":{"type":"integer"},"next":{"anyOf":[{"$ref":"#/$defs/node"},{"type":"null"}]}},"required":["v","next"],"additionalProperties":false}}}""",
        """{"type":"object","properties":{"children":{"type":"array","items":{"$ref":"#"}}},"required":["children"],"additionalProperties":false}""",
        """{"type":"object","properties":{"o":{"type":"object","properties":{"p":{"type":"array","items":{"type":"object","properties":{"q":{"enum":["x","y"]}},"required":["q"]}}},"required":["p"]}},"required":["o"]}""",
    ];

    [Theory]
    [MemberData(nameof(Schemas))]
    public void Whatever_the_masks_let_through_parses_and_validates(string text)
    {
        var schema = GrammarWalk.Json(text);
        var grammar = GrammarWalk.Compiler.JsonSchema(schema);
        var seed = text.Length;
        var random = new Random(seed);
        var ended = 0;
        for (var i = 0; i < 60; i++)
        {
            var (json, _, complete) = GrammarWalk.Run(grammar, GrammarWalk.Compiler.Trie, random, 400);
            if (complete)
            {
                ended++;
                Assert.True(SchemaCheck.IsValid(schema, GrammarWalk.Json(json), schema), $"{json} does not validate, seed {seed}, run {i}");
            }
        }

        Assert.InRange(ended, 10, 60);
    }

    [Fact]
    public void Random_schemas_give_texts_that_validate()
    {
        const int seed = 20261122;
        var random = new Random(seed);
        for (var i = 0; i < 300; i++)
        {
            var text = RandomSchema(random, 0);
            var schema = GrammarWalk.Json(text);
            var grammar = GrammarWalk.Compiler.JsonSchema(schema);
            for (var j = 0; j < 3; j++)
            {
                var (json, _, complete) = GrammarWalk.Run(grammar, GrammarWalk.Compiler.Trie, random, 500);
                Assert.True(!complete || SchemaCheck.IsValid(schema, GrammarWalk.Json(json), schema), $"{json} does not validate against {text}, seed {seed}");
            }
        }
    }

    [Theory]
    [InlineData("""{"a":1,"b":[true,null,-0.5e3,"x\u00e9"]}""", true)]
    [InlineData("{\n  \"a\": {}\n}", true)]
    [InlineData("""{"a":01}""", false)]
    [InlineData("""{"a":1,}""", false)]
    [InlineData("""[1]""", false)]
    [InlineData("{\"a\":\"\n\"}", false)]
    [InlineData("{\"a\":\"\\ud83d\"}", false)]
    public void Any_object_is_strict_JSON(string text, bool expected) => Assert.Equal(expected, GrammarWalk.Matches(GrammarWalk.Compiler.JsonObject(), text));

    [Theory]
    [InlineData("""{"type":"array","uniqueItems":true}""", ".uniqueItems", "uniqueItems")]
    [InlineData("""{"type":"object","properties":{"a":{"not":{}}}}""", ".properties.a.not", "'not'")]
    [InlineData("""{"type":"integer","multipleOf":5}""", ".multipleOf", "'multipleOf'")]
    [InlineData("""{"type":"object","patternProperties":{}}""", ".patternProperties", "'patternProperties'")]
    [InlineData("""{"allOf":[{},{}]}""", ".allOf", "one schema")]
    [InlineData("""{"anyOf":[]}""", ".anyOf", "not empty")]
    [InlineData("""{"anyOf":[{}],"minimum":3}""", ".minimum", "beside 'anyOf'")]
    [InlineData("""{"oneOf":[{"type":"integer"},{"type":"number"}]}""", ".oneOf", "anyOf")]
    [InlineData("""{"type":"banana"}""", ".type", "object, array")]
    [InlineData("""{"type":"string","pattern":"(?=x)"}""", ".pattern", "look-around")]
    [InlineData("""{"type":"string","pattern":5}""", ".pattern", "text")]
    [InlineData("""{"type":"string","minLength":5,"maxLength":2}""", ".minLength", "at most")]
    [InlineData("""{"type":"string","minLength":-1}""", ".minLength", "whole number")]
    [InlineData("""{"$ref":"#/nowhere"}""", ".$ref", "exists")]
    [InlineData("""{"$ref":"http://example.com/s"}""", ".$ref", "#/")]
    [InlineData("""{"$ref":"#"}""", "", "leads back")]
    [InlineData("""{"anyOf":[{"$ref":"#"},{"$ref":"#"}]}""", "", "leads back")]
    [InlineData("""{"type":"object","properties":{"a":{"$ref":"#"}},"required":["a"]}""", "", "nothing can match")]
    [InlineData("""{"type":"array","items":{"$ref":"#"},"minItems":1}""", "", "nothing can match")]
    [InlineData("""{"type":"object","required":["x"],"properties":{"y":{}}}""", ".required", "'x'")]
    [InlineData("""{"type":"integer","minimum":5,"maximum":4}""", "", "no number")]
    [InlineData("""[]""", "", "object")]
    [InlineData("5", "", "object")]
    [InlineData("false", "", "no value")]
    public void What_cannot_be_kept_is_refused_by_its_path(string schema, string path, string problem)
    {
        var exception = Assert.Throws<GrammarException>(() => GrammarWalk.Compiler.JsonSchema(GrammarWalk.Json(schema)));
        Assert.Equal(path, exception.Path);
        Assert.Contains(problem, exception.Message, StringComparison.Ordinal);
    }

    // which of the two limits a long string reaches first depends on how busy the machine is
    [Fact]
    public void A_string_of_90000_characters_is_refused_by_its_size_or_by_the_time_it_takes() => Assert.Matches(
        "too large|takes longer than",
        Assert.Throws<GrammarException>(() => GrammarWalk.Compiler.JsonSchema(GrammarWalk.Json("""{"type":"string","maxLength":90000}"""))).Message);

    [Fact]
    public void Nesting_ends_at_the_depth_limit_without_a_dead_end()
    {
        var grammar = GrammarWalk.Compiler.JsonSchema(GrammarWalk.Json("""{"type":"array","items":{"$ref":"#"}}"""));
        var matcher = new TokenMatcher(grammar, [GrammarWalk.Stop]);
        var depth = 0;
        while (GrammarWalk.Allows(matcher.Mask, '['))
        {
            Assert.Equal(MatchResult.Open, matcher.Advance('['));
            depth++;
            Assert.True(depth < 2000);
        }

        Assert.InRange(depth, 100, 600);
        for (; depth > 0; depth--)
        {
            Assert.True(GrammarWalk.Allows(matcher.Mask, ']'));
            Assert.Equal(depth > 1 ? MatchResult.Open : MatchResult.Complete, matcher.Advance(']'));
        }
    }

    [Fact]
    public void Deeply_nested_schemas_are_refused()
    {
        var deep = string.Concat(Enumerable.Repeat("""{"type":"array","items":""", 200)) + "true" + new string('}', 200);
        Assert.Contains("nested", Assert.Throws<GrammarException>(() => GrammarWalk.Compiler.JsonSchema(GrammarWalk.Json(deep))).Message, StringComparison.Ordinal);
    }

    private static string RandomSchema(Random random, int depth)
    {
        var kind = random.Next(depth > 2 ? 5 : 8);
        var (a, b) = (random.Next(-50, 50), random.Next(0, 200));
        return kind switch
        {
            0 => """{"type":"boolean"}""",
            1 => string.Create(CultureInfo.InvariantCulture, $$"""{"type":"integer","minimum":{{a}},"maximum":{{a + b}}}"""),
            2 => string.Create(CultureInfo.InvariantCulture, $$"""{"type":"string","minLength":{{random.Next(3)}},"maxLength":{{3 + random.Next(6)}}}"""),
            3 => """{"enum":["a","b",1,null]}""",
            4 => string.Create(CultureInfo.InvariantCulture, $$"""{"type":"number","minimum":{{a}},"exclusiveMaximum":{{a + b + 1}}}"""),
            5 => $$"""{"type":"array","items":{{RandomSchema(random, depth + 1)}},"minItems":{{random.Next(2)}},"maxItems":{{2 + random.Next(3)}}}""",
            6 => $$"""{"anyOf":[{{RandomSchema(random, depth + 1)}},{{RandomSchema(random, depth + 1)}}]}""",
            _ => RandomObject(random, depth),
        };
    }

    private static string RandomObject(Random random, int depth)
    {
        var names = Enumerable.Range(0, random.Next(1, 5)).Select(i => $"p{i}").ToArray();
        var properties = string.Join(',', names.Select(name => $"\"{name}\":{RandomSchema(random, depth + 1)}"));
        var required = string.Join(',', names.Where(_ => random.Next(2) == 0).Select(name => $"\"{name}\""));
        var more = random.Next(3) switch { 0 => "false", 1 => """{"type":"integer"}""", _ => "true" };
        return $$"""{"type":"object","properties":{{{properties}}},"required":[{{required}}],"additionalProperties":{{more}}}""";
    }
}
