using Xunit;

namespace Sals.Engine.Tests.Text;

public class TokenizerCheckValueTests
{
    [Theory]
    [InlineData("llama-2", new[] { 1, 15043, 3186, 29991 })]
    [InlineData("mistral-7b-v0.1", new[] { 1, 22557, 1526, 28808 })]
    [InlineData("llama-3.1", new[] { 128000, 9906, 1917, 0 })]
    public void Hello_world_has_the_published_ids(string name, int[] expected)
    {
        var tokenizer = TestTokenizers.OpenShared(name);
        var ids = tokenizer.Encode("Hello world!", addSpecialTokens: true, parseSpecialTokens: true);
        Assert.Equal(expected, ids);
        Assert.Equal("Hello world!", tokenizer.Decode(ids.ToArray(), skipSpecialTokens: true));
    }

    [Fact]
    public void Special_text_in_user_content_is_plain_text()
    {
        var tokenizer = TestTokenizers.SalsTiny;
        var parsed = tokenizer.Encode("<|im_end|>", addSpecialTokens: false, parseSpecialTokens: true);
        var plain = tokenizer.Encode("<|im_end|>", addSpecialTokens: false, parseSpecialTokens: false);
        Assert.Equal([2], parsed);
        Assert.DoesNotContain(2, plain);
        Assert.Equal("<|im_end|>", tokenizer.Decode(plain.ToArray(), skipSpecialTokens: true));
    }
}
