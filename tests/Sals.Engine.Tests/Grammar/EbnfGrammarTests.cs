using Sals.Engine.Grammar;
using Xunit;

namespace Sals.Engine.Tests.Grammar;

public class EbnfGrammarTests
{
    private const string Arithmetic = """
        # an expression, with recursion in brackets
        root ::= (expr "=" ws term "\n")+
        expr ::= term ([-+*/] term)*
        term ::= ident | num | "(" ws expr ")" ws
        ident ::= [a-z] [a-z0-9_]* ws
        num ::= [0-9]+ ws
        ws ::= [ \t\n]*
        """;

    private const string Sql = """
        root ::= select_statement
        select_statement ::= "SELECT " column " from " table " where " condition
        column ::= "col_1 " | "col_2 "
        table ::= "table_1 " | "table_2 "
        condition ::= column "= " number
        number ::= "1 " | "2 "
        """;

    [Theory]
    [InlineData(Arithmetic, "a+(b*(2-c))= 7\n", true)]
    [InlineData(Arithmetic, "a+(b= 7\n", false)]
    [InlineData(Sql, "SELECT col_1  from table_2  where col_2 = 1 ", true)]
    [InlineData(Sql, "SELECT col_3  from table_2  where col_2 = 1 ", false)]
    [InlineData("root ::= \"a\"{2,3} [^\\n]{2} .?", "aaxy", true)]
    [InlineData("root ::= \"a\"{2,3} [^\\n]{2} .?", "a", false)]
    [InlineData("root ::= \"a\"{2}", "aaa", false)]
    [InlineData("root ::= \"a\"{2,}", "aaaaa", true)]
    [InlineData("root ::= \"\\x41\\u00e9\\\"\\\\\" [\\]\\-x]", "Aé\"\\]", true)]
    [InlineData("root ::= x-1 | \"\" x-1\nx-1 ::= (\"b\" | ) \"c\"", "c", true)]
    [InlineData("root ::=\n  \"a\"\n  | \"b\"\n\n# end", "b", true)]
    [InlineData("list ::= \"x\" list | \"x\"\nroot ::= list", "xxx", true)]
    [InlineData("root ::= [日-本]+", "日", true)]
    public void Texts_match_as_the_rules_say(string grammar, string text, bool expected) =>
        Assert.Equal(expected, GrammarWalk.Matches(GrammarWalk.Compiler.Compile(GrammarSource.Ebnf(grammar)), text));

    [Theory]
    [InlineData("x ::= \"a\"", "called root")]
    [InlineData("root ::= y", "'y' is called, but not there")]
    [InlineData("root ::= \"a\"\nroot ::= \"b\"", "twice")]
    [InlineData("root ::= root \"a\" | \"a\"", "'root' calls itself")]
    [InlineData("root ::= a\na ::= b? a \"x\"\nb ::= \"b\"", "calls itself")]
    [InlineData("root ::= \"a", "not closed")]
    [InlineData("root ::= [a", "not closed")]
    [InlineData("root ::= (\"a\"", "expected ')'")]
    [InlineData("root ::= \"a\")", "unexpected ')'")]
    [InlineData("root ::= \"a\"{5,2}", "smaller bound")]
    [InlineData("root ::= \"a\"{9999}", "5000")]
    [InlineData("root ::= [z-a]", "smaller character")]
    [InlineData("root ::= \"\\q\"", "\\q")]
    [InlineData("root ::= \"\\ud800\"", "hexadecimal")]
    [InlineData("root ::= 'a'", "double quotes")]
    [InlineData("root ::= (= \"a\")", "look-ahead")]
    [InlineData("root ::= <think>", "<...>")]
    [InlineData("root ::= \"a\"\n\nb ::= !", "line 3")]
    [InlineData("?start: \"a\"", "name of a rule")]
    [InlineData("start: \"a\"", "Lark")]
    [InlineData("root ::= \"\"", "empty text only")]
    [InlineData("root ::= \"a\" root", "nothing can match")]
    [InlineData("", "called root")]
    public void What_is_wrong_is_said(string grammar, string problem) =>
        Assert.Contains(problem, Assert.Throws<GrammarException>(() => GrammarWalk.Compiler.Compile(GrammarSource.Ebnf(grammar))).Message, StringComparison.Ordinal);

    [Fact]
    public void Hostile_sources_end_in_time()
    {
        string[] sources =
        [
            "root ::= " + string.Concat(Enumerable.Repeat("(", 5000)),
            "root ::= ((\"a\"{5000}){5000}){5000}",
            "root ::= " + string.Concat(Enumerable.Range(0, 4000).Select(i => $"a{i} ")) + string.Concat(Enumerable.Range(0, 2000).Select(i => $"\na{i} ::= \"x\"?")),
            string.Concat(Enumerable.Range(0, 3000).Select(i => $"a{i} ::= a{i + 1}\n")) + "a3000 ::= \"x\"\nroot ::= a0",
            "root ::= (a | a a | a a a)*\na ::= \"x\"? \"x\"? \"x\"?",
            new string('x', 70_000),
        ];
        foreach (var source in sources)
        {
            var started = System.Diagnostics.Stopwatch.GetTimestamp();
            try
            {
                GrammarWalk.Compiler.Compile(GrammarSource.Ebnf(source));
            }
            catch (GrammarException)
            {
                // refused
            }

            Assert.InRange(System.Diagnostics.Stopwatch.GetElapsedTime(started).TotalSeconds, 0, 20);
        }
    }

    [Fact]
    public void Random_text_is_refused_or_compiled_and_nothing_else()
    {
        const int seed = 8;
        var random = new Random(seed);
        string[] fragments = ["root", " ::= ", "\"a\"", "[a-z]", "(", ")", "|", "*", "+", "?", "{2}", "{1,}", "b", "\n", "#", "\\", "\"", "[^", "]", ".", "<", "-", "é", "\ud83d\ude00", "::=", "{", "}"];
        for (var i = 0; i < 3000; i++)
        {
            var source = "root ::= " + string.Concat(Enumerable.Range(0, random.Next(12)).Select(_ => fragments[random.Next(fragments.Length)]));
            try
            {
                var (text, _, ended) = GrammarWalk.Run(GrammarWalk.Compiler.Compile(GrammarSource.Ebnf(source)), GrammarWalk.Compiler.Trie, random, 30);
                Assert.True(!ended || text.Length >= 0);
            }
            catch (GrammarException)
            {
                // refused
            }
        }
    }

    [Fact]
    public void Random_walks_of_a_recursive_grammar_end_and_match()
    {
        var grammar = GrammarWalk.Compiler.Compile(GrammarSource.Ebnf("root ::= \"{\" (root (\",\" root){0,3})? \"}\" | [a-c]+"));
        var random = new Random(5);
        var ended = 0;
        for (var i = 0; i < 100; i++)
        {
            var (text, _, complete) = GrammarWalk.Run(grammar, GrammarWalk.Compiler.Trie, random, 300);
            ended += complete ? 1 : 0;
            Assert.True(!complete || GrammarWalk.Matches(grammar, text), text);
        }

        Assert.InRange(ended, 30, 100);
    }

    [Fact]
    public void A_list_written_as_recursion_may_be_long()
    {
        var grammar = GrammarWalk.Compiler.Compile(GrammarSource.Ebnf("root ::= item | item \",\" root\nitem ::= [a-z]+"));
        Assert.True(GrammarWalk.Matches(grammar, string.Join(',', Enumerable.Repeat("ab", 5000))));
    }
}
