using System.Diagnostics;
using System.Globalization;
using Sals.Engine.Grammar;
using Sals.Engine.Tests.Text;
using Sals.Engine.Text.Answers;
using Xunit;

namespace Sals.Engine.Tests.Grammar;

public class TokenMaskTests
{
    private const string Person = """
        {"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer","minimum":0,"maximum":150},"email":{"type":"string","maxLength":40},
        "tags":{"type":"array","items":{"type":"string"}},"address":{"type":"object","properties":{"street":{"type":"string"},"zip":{"type":"string","pattern":"^\\d{5}$"}},
        "required":["street","zip"],"additionalProperties":false}},"required":["name","age","email","tags","address"],"additionalProperties":false}
        """;

    [Theory]
    [InlineData("""{"type":"object","properties":{"a":{"type":"string"},"b":{"type":"array","items":{"type":"number"}}}}""")]
    [InlineData("""{"type":"array","items":{"$ref":"#"}}""")]
    [InlineData("{}")]
    [InlineData("""{"type":"string","maxLength":5}""")]
    [InlineData("""{"type":"string","maxLength":120}""")]
    [InlineData("""{"type":"string","minLength":60,"maxLength":100}""")]
    [InlineData("""{"type":"string","pattern":"^([a-c ]x|[a-c]{1,2}){35,70}$"}""")]
    public void A_mask_says_of_each_token_what_its_bytes_say(string schema)
    {
        const int seed = 5;
        var random = new Random(seed);
        var grammar = GrammarWalk.Compiler.JsonSchema(GrammarWalk.Json(schema));
        for (var run = 0; run < 6; run++)
        {
            var ids = GrammarWalk.Run(grammar, GrammarWalk.Compiler.Trie, random, 40).Ids;
            for (var length = 0; length < ids.Count; length++)
            {
                var matcher = After(grammar, ids, length);
                for (var id = 0; id < 1000; id++)
                {
                    var expected = id == GrammarWalk.Stop ? matcher.IsComplete : After(grammar, ids, length).Advance(id) != MatchResult.Failed;
                    Assert.True(expected == GrammarWalk.Allows(matcher.Mask, id), $"token {id} after {length} of {string.Join(',', ids)}, seed {seed}");
                }
            }
        }
    }

    [Fact]
    public void Choices_are_spelt_in_every_way_and_end_by_themselves()
    {
        var grammar = GrammarWalk.Compiler.Choice(["hello", "hello world", "ab"]);
        Assert.True(GrammarWalk.Matches(grammar, "hello"));
        Assert.False(GrammarWalk.Matches(grammar, "hello "));
        var matcher = new TokenMatcher(grammar, [GrammarWalk.Stop]);
        Assert.Equal(["a", "ab", "h", "hello"], Texts(matcher));
        Assert.Equal(MatchResult.Complete, matcher.Advance(Array.FindIndex(GrammarWalk.Tokens, token => token.AsSpan().SequenceEqual("ab"u8))));
    }

    [Fact]
    public void Compiled_grammars_are_kept_and_the_oldest_forgotten()
    {
        var compiler = new GrammarCompiler(() => new TokenTrie(1000, GrammarWalk.Tokens));
        var first = compiler.Regex("a0");
        for (var i = 1; i < GrammarLimits.Cached; i++)
        {
            compiler.Regex($"a{i}");
        }

        Assert.Same(first, compiler.Regex("a0"));
        compiler.Regex("b");
        Assert.Same(first, compiler.Regex("a0"));
        for (var i = 0; i < GrammarLimits.Cached; i++)
        {
            compiler.Regex($"c{i}");
        }

        Assert.NotSame(first, compiler.Regex("a0"));
    }

    [Fact]
    public void A_vocabulary_without_single_bytes_is_refused()
    {
        var compiler = new GrammarCompiler(() => new TokenTrie(100, [[1], [2, 3]]));
        Assert.Contains("bytes", Assert.Throws<GrammarException>(() => compiler.Regex("a")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Special_tokens_are_never_allowed_and_the_embedded_vocabulary_can_spell_everything()
    {
        var tokenizer = TestTokenizers.SalsTiny;
        var compiler = new GrammarCompiler(() => TokenTrie.Of(tokenizer, tokenizer.VocabularySize, []));
        Assert.Empty(compiler.Trie.MissingBytes);
        var matcher = new TokenMatcher(compiler.Regex(@"[\s\S]*"), []);
        for (var id = 0; id < tokenizer.VocabularySize; id++)
        {
            Assert.False(tokenizer.IsSpecial(id) && GrammarWalk.Allows(matcher.Mask, id));
        }
    }

    /// <summary>Walks a schema of nested objects, strings, bounds and a pattern at Llama 3.1's vocabulary, cold and warm.</summary>
    [Theory]
    [InlineData("llama-3.1")]
    [InlineData("mistral-7b-v0.1")]
    public void A_warm_mask_of_a_real_vocabulary_takes_less_than_a_millisecond(string name)
    {
        var tokenizer = TestTokenizers.OpenShared(name);
        var words = tokenizer.VocabularySize;
        var started = Stopwatch.GetTimestamp();
        var trie = TokenTrie.Of(tokenizer, words, []);
        var built = Stopwatch.GetElapsedTime(started);
        var compiler = new GrammarCompiler(() => trie);
        Assert.Empty(trie.MissingBytes);
        var person = GrammarWalk.Json(Person);
        var tools = Enumerable.Range(0, 20).Select(i => new ToolSignature($"tool_{i}", person, "")).ToArray();
        foreach (var (label, source) in new[]
        {
            ("person", GrammarSource.JsonSchema(person)),
            ("any object", GrammarSource.JsonSchema(GrammarWalk.Json("""{"type":"object"}"""))),
            ("20 tools behind reasoning", GrammarSource.ToolCalls(ToolCallFormat.Hermes, tools, several: true).AfterReasoning(ReasoningStart.Optional)),
            ("recursive EBNF", GrammarSource.Ebnf("root ::= expr\nexpr ::= term ([-+*/] term)*\nterm ::= [a-z]+ | [0-9]{1,9} | \"(\" expr \")\" | \"\\\"\" [^\"\\n]* \"\\\"\"")),
        })
        {
            started = Stopwatch.GetTimestamp();
            var grammar = compiler.Compile(source);
            var compiled = Stopwatch.GetElapsedTime(started);
            var end = tokenizer.TokenId("</s>") ?? tokenizer.TokenId("<|end_of_text|>")!.Value;
            var texts = Enumerable.Range(0, 12).Select(seed => GrammarWalk.Run(grammar, trie, new Random(seed), 300, end).Ids).ToArray();
            // the same texts again: what was found during the walk is known now; and once more with nothing known
            var warm = Time(grammar, texts);
            var cold = Time(new GrammarCompiler(() => trie).Compile(source), texts);
            TestContext.Current.TestOutputHelper!.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{name}, {words} tokens, {trie.NodeCount} nodes built in {built.TotalMilliseconds:0} ms; {label}: compiled in {compiled.TotalMilliseconds:0} ms; {warm.Length} tokens, "
                + $"warm p50 {At(warm, 0.5):0.000} p99 {At(warm, 0.99):0.000} max {warm[^1]:0.000} ms; first time p50 {At(cold, 0.5):0.000} p99 {At(cold, 0.99):0.000} max {cold[^1]:0.000} ms"));
            Assert.True(At(warm, 0.99) < 1, $"p99 {At(warm, 0.99)} ms");
        }
    }

    [Fact]
    public void A_warm_grammar_allocates_nothing()
    {
        var grammar = GrammarWalk.Compiler.JsonSchema(GrammarWalk.Json(Person));
        var text = GrammarWalk.Run(grammar, GrammarWalk.Compiler.Trie, new Random(3), 300).Ids;
        var matcher = new TokenMatcher(grammar, [GrammarWalk.Stop]);
        var before = GC.GetAllocatedBytesForCurrentThread();
        foreach (var id in text)
        {
            matcher.Advance(id);
        }

        Assert.True(text.Count > 50);
        Assert.Equal(before, GC.GetAllocatedBytesForCurrentThread());
    }

    /// <summary>What a hostile pattern can cost: compiling is off the engine's thread, a mask on it is bounded by work.</summary>
    [Theory]
    [InlineData(".*[a-m].{12}x")]
    [InlineData("((a?b?c?d?e?){40}[a-z ]{0,30}){3}")]
    [InlineData("[\\s\\S]{0,900}[\\s\\S]{0,900}")]
    [InlineData("root ::= (a | a a | b)*\na ::= [a-z]? [a-z ]?\nb ::= \"(\" root \")\"")]
    [InlineData("root ::= x{0,500}\nx ::= [a-z]{0,30} (\" \" x)?")]
    public void A_hostile_pattern_over_a_real_vocabulary_is_bounded(string pattern)
    {
        var tokenizer = TestTokenizers.OpenShared("llama-3.1");
        var trie = TokenTrie.Of(tokenizer, tokenizer.VocabularySize, []);
        var started = Stopwatch.GetTimestamp();
        var ended = "compiled";
        var slowest = 0.0;
        try
        {
            var source = pattern.StartsWith("root ::=", StringComparison.Ordinal) ? GrammarSource.Ebnf(pattern) : GrammarSource.Regex(pattern);
            var grammar = new GrammarCompiler(() => trie).Compile(source);
            var compiled = Stopwatch.GetElapsedTime(started);
            var ids = GrammarWalk.Run(grammar, trie, new Random(1), 40, tokenizer.TokenId("<|end_of_text|>")!.Value).Ids;
            slowest = Time(new GrammarCompiler(() => trie).Compile(source), [ids]).LastOrDefault();
            Assert.InRange(compiled.TotalSeconds, 0, 20);
        }
        catch (GrammarException exception)
        {
            ended = exception.Message;
        }

        var elapsed = Stopwatch.GetElapsedTime(started);
        TestContext.Current.TestOutputHelper!.WriteLine(string.Create(CultureInfo.InvariantCulture, $"{pattern}: {ended}, {elapsed.TotalMilliseconds:0} ms in all, slowest token {slowest:0.0} ms"));
        Assert.InRange(elapsed.TotalSeconds, 0, 60);
    }

    private static double[] Time(TokenGrammar grammar, List<int>[] texts)
    {
        var times = new List<double>();
        foreach (var text in texts)
        {
            var matcher = new TokenMatcher(grammar, []);
            foreach (var id in text)
            {
                var started = Stopwatch.GetTimestamp();
                matcher.Advance(id);
                times.Add(Stopwatch.GetElapsedTime(started).TotalMilliseconds);
            }
        }

        return [.. times.Order()];
    }

    private static double At(double[] sorted, double share) => sorted[(int)(share * (sorted.Length - 1))];

    private static TokenMatcher After(TokenGrammar grammar, List<int> ids, int length)
    {
        var matcher = new TokenMatcher(grammar, [GrammarWalk.Stop]);
        for (var i = 0; i < length; i++)
        {
            matcher.Advance(ids[i]);
        }

        return matcher;
    }

    private static string[] Texts(TokenMatcher matcher) =>
        [.. GrammarWalk.Allowed(matcher).Select(id => System.Text.Encoding.UTF8.GetString(GrammarWalk.Tokens[id])).Distinct().Order(StringComparer.Ordinal)];
}
