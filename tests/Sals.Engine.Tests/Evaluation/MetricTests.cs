using Sals.Engine.Evaluation.Metrics;
using Xunit;

namespace Sals.Engine.Tests.Evaluation;

/// <summary>Examples from the metrics' own documents, and by hand from their definitions.</summary>
public class MetricTests
{
    [Theory]
    // SQuAD's normalisation: case, punctuation, articles, white space
    [InlineData("The  Eiffel-Tower!", "eiffeltower", 1)]
    [InlineData("an apple", "the apple", 1)]
    [InlineData("in the late 1990s", "late 1990s", 0.8)]
    [InlineData("Denver Broncos won it", "Denver Broncos", 0.66666666666666663)]
    [InlineData("yes yes no", "yes no no", 0.66666666666666663)]
    [InlineData("blue", "red", 0)]
    [InlineData("", "red", 0)]
    public void Question_F1_counts_shared_words(string prediction, string reference, double score)
    {
        Assert.Equal(score, Score("qa_f1", prediction, reference), 1e-12);
    }

    [Theory]
    // Lin (2004), summary level: reference w1 w2 w3 w4 w5, candidates w1 w2 w6 w7 w8 and w1 w3 w8 w9 w5 share w1 w2 w3 w5, recall 4/5; eight different words are predicted
    [InlineData("w1 w2 w6 w7 w8. w1 w3 w8 w9 w5", "w1 w2 w3 w4 w5", 2 * 0.5 * 0.8 / 1.3)]
    // Lin (2004), sentence level: police the gunman against "police killed the gunman"
    [InlineData("police kill the gunman", "police killed the gunman", 0.75)]
    [InlineData("the gunman kill police", "police killed the gunman", 0.5)]
    [InlineData("a b c", "a b c", 1)]
    [InlineData("", "a", 0)]
    [InlineData("...", "a", 0)]
    public void Rouge_L_takes_the_union_of_longest_common_subsequences(string prediction, string reference, double score)
    {
        Assert.Equal(score, Score("rouge_l", prediction, reference), 1e-7);
    }

    [Theory]
    // fuzzywuzzy's README
    [InlineData("this is a test", "this is a test!", 97)]
    [InlineData("fuzzy wuzzy was a bear", "wuzzy fuzzy was a bear", 91)]
    [InlineData("fuzzy was a bear", "fuzzy fuzzy was a bear", 84)]
    [InlineData("", "x", 0)]
    public void Code_ratio_is_fuzzywuzzys(string one, string other, int ratio)
    {
        Assert.Equal(ratio, CodeSimilarity.Ratio(one, other));
        Assert.Equal(ratio, CodeSimilarity.Ratio(other, one));
    }

    [Fact]
    public void Code_similarity_compares_the_first_line_that_is_code()
    {
        Assert.Equal(1, Score("code_sim", "\n\n```python\n# a comment\n// another\nreturn x + 1\nmore", "return x + 1"));
        Assert.Equal(0, Score("code_sim", "# only a comment", "return"));
    }

    [Fact]
    public void Ruler_asks_for_all_or_for_any_of_the_strings()
    {
        Assert.Equal(0.5, EvalMetric.Score("match_all", "It is 12 and ABC.", ["abc", "12", "13", "x"], [], true));
        Assert.Equal(1, EvalMetric.Score("match_part", "It is 12.", ["13", "12"], [], true));
        Assert.Equal(0, EvalMetric.Score("match_part", "It is 1 2.", ["13", "12"], [], true));
    }

    [Theory]
    [InlineData("exact", "It is 12.", "It is 12.", true, 1)]
    [InlineData("exact", "It is 12.", "It is 12.", false, 0)]
    [InlineData("exact", "it is 12.", "It is 12.", true, 0)]
    [InlineData("coqa_em", "The cat.", "cat", true, 1)]
    [InlineData("coqa_em", "cats", "cat", true, 0)]
    // lm-evaluation-harness: strict asks for the form of the worked examples, flexible takes the last number
    [InlineData("gsm8k_strict", "So 3 * 4 = 12\n#### 1,234", "1234", true, 1)]
    [InlineData("gsm8k_strict", "The answer is 1234.", "1234", true, 0)]
    [InlineData("gsm8k_flexible", "The answer is $1,234.", "1234", true, 1)]
    [InlineData("gsm8k_flexible", "12 and then -7", "-7", true, 1)]
    [InlineData("gsm8k_flexible", "none", "7", true, 0)]
    // LongBench: shares of the numbers that are said
    [InlineData("count", "There are 3 or 4, I say 3", "3", true, 2.0 / 3)]
    [InlineData("count", "many", "3", true, 0)]
    [InlineData("retrieval", "Paragraph 12", "Paragraph 12", true, 1)]
    [InlineData("retrieval", "Paragraph 12 or Paragraph 7", "Paragraph 7", true, 0.5)]
    public void Scores(string metric, string prediction, string reference, bool ended, double score)
    {
        Assert.Equal(score, EvalMetric.Score(metric, prediction, [reference], [], ended), 1e-12);
    }

    [Fact]
    public void Classification_divides_by_the_classes_that_are_named()
    {
        string[] classes = ["Food", "Sport", "Other entity", "entity"];
        Assert.Equal(1, EvalMetric.Score("classification", "Sport", ["Sport"], classes, true));
        Assert.Equal(0.5, EvalMetric.Score("classification", "Sport or Food", ["Sport"], classes, true));
        Assert.Equal(0, EvalMetric.Score("classification", "Food", ["Sport"], classes, true));
        // part of the right name: not counted
        Assert.Equal(1, EvalMetric.Score("classification", "Other entity", ["Other entity"], classes, true));
    }

    private static double Score(string metric, string prediction, string reference) => EvalMetric.Score(metric, prediction, [reference], [], ended: true);
}
