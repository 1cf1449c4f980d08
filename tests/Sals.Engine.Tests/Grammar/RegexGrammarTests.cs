using System.Text.RegularExpressions;
using Sals.Engine.Grammar;
using Xunit;

namespace Sals.Engine.Tests.Grammar;

public class RegexGrammarTests
{
    public static readonly TheoryData<string> Patterns =
    [
        "abc", "a|b|", "(ab|cd)*e", "[a-c]{2,4}", "[^a-y\\W]+", "\\d{3}-\\d{4}", "a?b+c*?", "^(yes|no)$", ".{0,3}", "[é日]{1,2}x", "(a|ab)(c|bcd)(d*)", "[\\]\\-a]+",
        "\\x41\\u0042", "(?:a|b){3}", "a{2,}", "[a\\d]{0,2}\\.", "(a*)*b", "\\{\\}", "[^\"]{1,3}",
    ];

    [Theory]
    [MemberData(nameof(Patterns))]
    public void Random_texts_match_exactly_when_dotnet_says_so(string pattern)
    {
        var seed = pattern.Aggregate(17, (hash, c) => hash * 31 + c);
        var random = new Random(seed);
        var grammar = GrammarWalk.Compiler.Regex(pattern);
        var oracle = new Regex($"^(?:{pattern})\\z", RegexOptions.CultureInvariant | RegexOptions.ECMAScript, TimeSpan.FromSeconds(5));
        var letters = "abcdexAB-.012]{}\"é\n";
        var agreed = 0;
        for (var i = 0; i < 2000; i++)
        {
            var text = string.Concat(Enumerable.Range(0, random.Next(7)).Select(_ => letters[random.Next(letters.Length)]));
            Assert.True(oracle.IsMatch(text) == GrammarWalk.Matches(grammar, text), $"'{text}' for {pattern}, seed {seed}");
            agreed++;
        }

        for (var i = 0; i < 50; i++)
        {
            var (text, _, ended) = GrammarWalk.Run(grammar, GrammarWalk.Compiler.Trie, random, 60);
            // characters beyond 16 bits are two for the oracle
            Assert.True(!ended || text.Any(char.IsSurrogate) || oracle.IsMatch(text), $"'{text}' for {pattern}, seed {seed}");
        }

        Assert.Equal(2000, agreed);
    }

    [Theory]
    [InlineData("(", "expected ')'")]
    [InlineData(")", "unexpected ')'")]
    [InlineData("a{", "expected a number")]
    [InlineData("a{3,2}", "wrong way round")]
    [InlineData("a{99999}", "at most 5000")]
    [InlineData("*a", "nothing to repeat")]
    [InlineData("[a", "expected ']'")]
    [InlineData("[z-a]", "range")]
    [InlineData("(?=a)", "look-around")]
    [InlineData("\\1", "\\1 is not supported")]
    [InlineData("\\bword", "\\b is not supported")]
    [InlineData("\\p{L}", "\\p is not supported")]
    [InlineData("a^b", "beginning")]
    [InlineData("^a|b$", "group")]
    [InlineData("\\ud800", "hexadecimal")]
    [InlineData("[]", "expected ']'")]
    [InlineData("a\\", "after")]
    public void What_is_not_understood_is_refused_with_its_place(string pattern, string problem) =>
        Assert.Contains(problem, Assert.Throws<GrammarException>(() => GrammarWalk.Compiler.Regex(pattern)).Message, StringComparison.Ordinal);

    [Theory]
    [InlineData("((((a{5000}){5000}){5000}){5000}){5000}")]
    [InlineData("(((){5000}){5000}){5000}")]
    [InlineData("(.*[a-m].{400})*")]
    [InlineData("((a?){300}){30}b")]
    [InlineData("(x+x+)+y")]
    [InlineData("[\\s\\S]{0,2000}[\\s\\S]{0,2000}")]
    public void Hostile_patterns_are_compiled_or_refused_in_bounded_time(string pattern)
    {
        var started = Environment.TickCount64;
        try
        {
            var grammar = GrammarWalk.Compiler.Regex(pattern);
            var result = GrammarWalk.Run(grammar, GrammarWalk.Compiler.Trie, new Random(1), 20);
            Assert.NotEmpty(result.Ids);
        }
        catch (Exception exception) when (exception is GrammarException or InvalidOperationException)
        {
            Assert.NotEmpty(exception.Message);
        }

        Assert.InRange(Environment.TickCount64 - started, 0, 20_000);
    }

    [Fact]
    public void Groups_nested_beyond_the_limit_are_refused()
    {
        var deep = string.Concat(Enumerable.Repeat("(", 30_000)) + "a" + string.Concat(Enumerable.Repeat(")", 30_000));
        Assert.Contains("nested", Assert.Throws<GrammarException>(() => GrammarWalk.Compiler.Regex(deep)).Message, StringComparison.Ordinal);
        Assert.Throws<GrammarException>(() => GrammarWalk.Compiler.Regex(new string('a', GrammarLimits.SourceLength + 1)));
    }
}
