using System.Text;
using Sals.Engine.Text;
using Xunit;

namespace Sals.Engine.Tests.Text;

public class StopMatcherTests
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Stop_string_across_pieces(bool include)
    {
        var matcher = new StopMatcher(["STOP"], include);
        Assert.Equal("Hello ", matcher.Append("Hello S"));
        Assert.Equal("", matcher.Append("TO"));
        Assert.Equal(include ? "STOP" : "", matcher.Append("P and more"));
        Assert.Equal("STOP", matcher.Matched);
        Assert.Equal(6, matcher.MatchStart);
        Assert.Equal("", matcher.Append("later"));
        Assert.Equal("", matcher.Flush());
    }

    [Fact]
    public void What_turns_out_to_be_no_stop_string_is_given_out()
    {
        var matcher = new StopMatcher(["aab"], includeStopString: false);
        Assert.Equal("", matcher.Append("aa"));
        Assert.Equal("a", matcher.Append("a"));
        Assert.Equal(2, matcher.HeldLength);
        Assert.Equal("aac", matcher.Append("c"));
        Assert.Null(matcher.Matched);
    }

    [Fact]
    public void Flush_gives_out_the_held_beginning()
    {
        var matcher = new StopMatcher(["\n\nUser:"], includeStopString: false);
        Assert.Equal("end", matcher.Append("end\n\nUs"));
        Assert.Equal("\n\nUs", matcher.Flush());
    }

    [Fact]
    public void Before_min_tokens_nothing_stops_and_no_stop_string_begins()
    {
        var matcher = new StopMatcher(["ab"], includeStopString: false);
        Assert.Equal("ab a", matcher.Append("ab a", mayStop: false));
        Assert.Equal("b", matcher.Append("b"));
        Assert.Equal("x", matcher.Append("xab"));
        Assert.Equal("ab", matcher.Matched);
    }

    [Fact]
    public void Any_cut_of_the_text_gives_the_same_outcome_as_a_naive_search()
    {
        var seed = Environment.TickCount;
        var random = new Random(seed);
        for (var round = 0; round < 3000; round++)
        {
            string Word(int least, int most) => string.Concat(Enumerable.Range(0, random.Next(least, most)).Select(_ => "abc"[random.Next(3)]));
            var stops = Enumerable.Range(0, random.Next(1, 4)).Select(_ => Word(1, 5)).ToArray();
            var text = Word(0, 30);
            var include = random.Next(2) == 0;
            var (expected, stop) = Naive(text, stops, include);
            var matcher = new StopMatcher(stops, include);
            var given = new StringBuilder();
            for (var at = 0; at < text.Length;)
            {
                var length = Math.Min(random.Next(1, 6), text.Length - at);
                given.Append(matcher.Append(text.Substring(at, length)));
                at += length;
            }

            given.Append(matcher.Flush());
            Assert.True(expected == given.ToString() && stop == matcher.Matched, $"seed {seed} round {round}: {text} / {string.Join(',', stops)}");
        }
    }

    private static (string Text, string? Stop) Naive(string text, string[] stops, bool include)
    {
        for (var end = 1; end <= text.Length; end++)
        {
            foreach (var stop in stops)
            {
                if (text[..end].EndsWith(stop, StringComparison.Ordinal))
                {
                    return (include ? text[..end] : text[..(end - stop.Length)], stop);
                }
            }
        }

        return (text, null);
    }
}
