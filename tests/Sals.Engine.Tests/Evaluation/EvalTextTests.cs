using Sals.Engine.Evaluation;
using Xunit;

namespace Sals.Engine.Tests.Evaluation;

public class EvalTextTests
{
    [Fact]
    public void A_passage_starts_at_a_sentence_and_runs_on_into_the_next_documents()
    {
        var text = new EvalText("Aaa bbb. Ccc ddd.\f\n Eee fff. Ggg hhh.\n\f");
        Assert.Equal(2, text.Documents.Count);
        for (var seed = 0; seed < 50; seed++)
        {
            var passage = text.Passage(new Random(seed), 20);
            Assert.True(passage.Length >= 20);
            Assert.Contains(passage[..3], new[] { "Aaa", "Ccc", "Eee", "Ggg" });
        }

        Assert.Throws<ArgumentException>(() => text.Passage(new Random(1), 1000));
        Assert.Throws<ArgumentException>(() => new EvalText(" \f\n"));
    }

    [Fact]
    public void Windows_do_not_overlap_and_come_from_all_over_the_text()
    {
        var windows = EvalModel.Text.Windows(EvalModel.Tokenizer, 6, 1500);
        Assert.All(windows, window => Assert.Equal(1500, window.Length));
        var documents = windows.Select(window =>
        {
            var start = EvalModel.Tokenizer.Decode(window.AsSpan(0, 200), skipSpecialTokens: true);
            return EvalModel.Text.Documents.ToList().FindIndex(document => document.StartsWith(start, StringComparison.Ordinal));
        }).ToArray();
        Assert.DoesNotContain(-1, documents);
        Assert.Equal(documents.Order().Distinct(), documents);
        Assert.True(documents[^1] - documents[0] > EvalModel.Text.Documents.Count / 2);
    }

    [Fact]
    public void Windows_longer_than_a_document_run_over_its_end()
    {
        var windows = EvalModel.Text.Windows(EvalModel.Tokenizer, 3, 8000);
        Assert.Equal(3, windows.Select(window => window.Length == 8000 ? string.Join(' ', window) : "").Distinct().Count());
        Assert.Throws<ArgumentException>(() => EvalModel.Text.Windows(EvalModel.Tokenizer, 100, 8000));
    }
}
