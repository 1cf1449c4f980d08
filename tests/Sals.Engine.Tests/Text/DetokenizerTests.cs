using System.Text;
using Sals.Engine.Text;
using Xunit;

namespace Sals.Engine.Tests.Text;

public class DetokenizerTests
{
    [Theory]
    [InlineData("plain words")]
    [InlineData("naïve Привет 你好 👩‍👩‍👧‍👦 🇩🇪 e\u0301")]
    [InlineData("\u0001\u007F tab\tnewline\n\n")]
    public void Pieces_join_to_the_text_and_split_no_character(string text)
    {
        var tokenizer = TestTokenizers.SalsTiny;
        var detokenizer = new Detokenizer(tokenizer, skipSpecialTokens: true);
        var joined = new StringBuilder();
        foreach (var id in tokenizer.Encode(text, addSpecialTokens: false, parseSpecialTokens: false))
        {
            var piece = detokenizer.Append(id);
            Assert.DoesNotContain('\uFFFD', piece);
            Assert.True(piece.Length == 0 || !char.IsHighSurrogate(piece[^1]), "a piece ends inside a surrogate pair");
            joined.Append(piece);
        }

        Assert.Equal("", detokenizer.Flush());
        Assert.Equal(text, joined.ToString());
    }

    [Fact]
    public void Incomplete_character_at_the_end_becomes_one_replacement_character()
    {
        var tokenizer = TestTokenizers.SalsTiny;
        var ids = tokenizer.Encode("\U0001F9FF", addSpecialTokens: false, parseSpecialTokens: false);
        Assert.True(ids.Count > 1);
        var detokenizer = new Detokenizer(tokenizer, skipSpecialTokens: true);
        Assert.Equal("", string.Concat(ids.SkipLast(1).Select(detokenizer.Append)));
        Assert.Equal("\uFFFD", detokenizer.Flush());
    }

    [Fact]
    public void Special_tokens_are_skipped_only_when_asked()
    {
        var tokenizer = TestTokenizers.SalsTiny;
        var end = tokenizer.TokenId("<|im_end|>")!.Value;
        Assert.Equal("", new Detokenizer(tokenizer, skipSpecialTokens: true).Append(end));
        Assert.Equal("<|im_end|>", new Detokenizer(tokenizer, skipSpecialTokens: false).Append(end));
    }

    [Fact]
    public void Unknown_ids_give_nothing()
    {
        var detokenizer = new Detokenizer(TestTokenizers.SalsTiny, skipSpecialTokens: false);
        Assert.Equal("", detokenizer.Append(int.MaxValue));
        Assert.Equal("", detokenizer.Append(-1));
    }
}
