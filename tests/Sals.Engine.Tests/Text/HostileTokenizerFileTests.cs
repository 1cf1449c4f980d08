using System.Text;
using System.Text.Json.Nodes;
using Sals.Engine.Text;
using Xunit;

namespace Sals.Engine.Tests.Text;

public class HostileTokenizerFileTests
{
    [Theory]
    [InlineData("""[]""", "tokenizer.json: expected an object")]
    [InlineData("""{}""", "\"model\" is missing")]
    [InlineData("""{"model": 1}""", "tokenizer.json:model: expected an object, found 1")]
    [InlineData("""{"model": {"type": "Unigram"}}""", "type: \"Unigram\" is not supported, only BPE")]
    [InlineData("""{"model": {"vocab": {}, "merges": []}}""", "vocab: empty")]
    [InlineData("""{"model": {"vocab": {"a": -1}, "merges": []}}""", "vocab:a: expected an integer 0 to 4194303, found -1")]
    [InlineData("""{"model": {"vocab": {"a": 2000000000}, "merges": []}}""", "vocab:a: expected an integer 0 to 4194303, found 2000000000")]
    [InlineData("""{"model": {"vocab": {"a": 0.5}, "merges": []}}""", "expected an integer")]
    [InlineData("""{"model": {"vocab": {"a": 0}, "merges": ["a b"]}}""", "merges[0]: \"a\" + \"b\": the parts or the result are not in the vocabulary")]
    [InlineData("""{"model": {"vocab": {"a": 0}, "merges": ["ab"]}}""", "merges[0]: expected two tokens separated by one space")]
    [InlineData("""{"model": {"vocab": {"a": 0}, "merges": [["a"]]}}""", "merges[0]: expected a string")]
    [InlineData("""{"model": {"vocab": {"a": 0}, "merges": 5}}""", "merges: expected an array, found 5")]
    [InlineData("""{"model": {"vocab": {"a": 0}, "merges": [], "unk_token": "u"}}""", "unk_token: \"u\" is not in the vocabulary")]
    [InlineData("""{"model": {"vocab": {"a": 0}, "merges": []}, "added_tokens": [{"id": 99999999, "content": "x"}]}""", "added_tokens[0]:id: expected an integer")]
    [InlineData("""{"model": {"vocab": {"a": 0}, "merges": []}, "added_tokens": [{"id": 1, "content": ""}]}""", "added_tokens[0]:content: 0 characters")]
    [InlineData("""{"model": {"vocab": {"a": 0}, "merges": []}, "normalizer": {"type": "Precompiled"}}""", "normalizer: type \"Precompiled\" is not supported")]
    [InlineData("""{"model": {"vocab": {"a": 0}, "merges": []}, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Nope"}}""", "behavior: expected Removed")]
    [InlineData("""{"model": {"vocab": {"a": 0}, "merges": []}, "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "(?<=a)b"}, "behavior": "Isolated"}}""", "regular expression \"(?<=a)b\" is not supported")]
    [InlineData("""{"model": {"vocab": {"a": 0}, "merges": []}, "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "s"}}], "special_tokens": {}}}""", "\"s\" is missing")]
    [InlineData("""{"model": {"vocab": {"a": 0}, "merges": []}, "decoder": {"type": "CTC"}}""", "decoder: type \"CTC\" is not supported")]
    public void Broken_file_gives_one_precise_message(string json, string message)
    {
        var error = Assert.Throws<TokenizerException>(() => TestTokenizers.Parse(json));
        Assert.Contains(message, error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Missing_and_malformed_files_are_named()
    {
        var folder = Directory.CreateTempSubdirectory("sals-tokenizer").FullName;
        Assert.Contains("neither tokenizer.json nor tokenizer.model", Assert.Throws<TokenizerException>(() => TokenizerLoader.Open(folder)).Message, StringComparison.Ordinal);
        File.WriteAllText(Path.Combine(folder, "tokenizer.json"), "{\"model\": ");
        Assert.Contains("tokenizer.json: not JSON", Assert.Throws<TokenizerException>(() => TokenizerLoader.Open(folder)).Message, StringComparison.Ordinal);
        File.Delete(Path.Combine(folder, "tokenizer.json"));
        File.WriteAllBytes(Path.Combine(folder, "tokenizer.model"), [0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]);
        Assert.Contains("tokenizer.model: not a sentencepiece model", Assert.Throws<TokenizerException>(() => TokenizerLoader.Open(folder)).Message, StringComparison.Ordinal);
        Directory.Delete(folder, recursive: true);
    }

    [Fact]
    public void Mutated_tokenizer_files_load_or_complain_and_nothing_else()
    {
        var seed = Environment.TickCount;
        var random = new Random(seed);
        const string Small = """
            {"added_tokens": [{"id": 5, "content": "<s>", "special": true, "normalized": true, "lstrip": true}], "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "_"}, {"type": "Replace", "pattern": {"String": " "}, "content": "_"}]},
            "pre_tokenizer": {"type": "Split", "pattern": {"Regex": "[^\\s]+|\\s+(?!\\S)|(?i:'s|x)?\\p{N}{1,3}"}, "behavior": "Isolated"}, "decoder": {"type": "Sequence", "decoders": [{"type": "ByteFallback"}, {"type": "Fuse"}, {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
            "post_processor": {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}}], "special_tokens": {"<s>": {"ids": [5]}}}, "model": {"type": "BPE", "byte_fallback": true, "vocab": {"a": 0, "b": 1, "ab": 2, "_": 3, "<0x41>": 4}, "merges": ["a b"]}}
            """;
        TestTokenizers.Parse(Small).Encode("ab <s> x", addSpecialTokens: true, parseSpecialTokens: true);
        for (var round = 0; round < 5000; round++)
        {
            var text = new StringBuilder(Small);
            for (var n = random.Next(1, 4); n > 0; n--)
            {
                var at = random.Next(text.Length);
                text[at] = random.Next(3) == 0 ? (char)random.Next(0x20, 0x7F) : Small[random.Next(Small.Length)];
            }

            try
            {
                _ = JsonNode.Parse(text.ToString());
            }
            catch (System.Text.Json.JsonException)
            {
                continue;
            }

            try
            {
                var tokenizer = TestTokenizers.Parse(text.ToString());
                var ids = tokenizer.Encode("ab <s> A 12345 's é🙂", addSpecialTokens: true, parseSpecialTokens: true);
                tokenizer.Decode(ids.ToArray(), skipSpecialTokens: false);
            }
            catch (TokenizerException)
            {
            }
            catch (Exception e)
            {
                Assert.Fail($"seed {seed}: {text}: {e}");
            }
        }
    }

    [Fact]
    public void Truncated_and_mutated_sentencepiece_files_load_or_complain_and_nothing_else()
    {
        var seed = Environment.TickCount;
        var random = new Random(seed);
        byte[] Piece(string text, byte type) => [0x0A, (byte)(text.Length + 9), 0x0A, (byte)text.Length, .. Encoding.ASCII.GetBytes(text), 0x15, 0, 0, 0x80, 0xBF, 0x18, type];
        byte[] file = [.. Piece("<unk>", 2), .. Piece("<s>", 3), .. Piece("a", 1), .. Piece("b", 1), .. Piece("ab", 1), 0x12, 2, 0x18, 2, 0x1A, 4, 0x18, 1, 0x20, 0];
        Assert.Equal([1, 4], SentencePieceModel.Read(file, "tokenizer.model", new TokenizerConfig { AddPrefixSpace = false }).Encode("ab", addSpecialTokens: true, parseSpecialTokens: true));
        for (var round = 0; round < 5000; round++)
        {
            var mutated = file[..random.Next(1, file.Length + 1)];
            mutated[random.Next(mutated.Length)] = (byte)random.Next(256);
            try
            {
                SentencePieceModel.Read(mutated, "tokenizer.model", new TokenizerConfig()).Encode("a b ab", addSpecialTokens: true, parseSpecialTokens: true);
            }
            catch (TokenizerException)
            {
            }
            catch (Exception e)
            {
                Assert.Fail($"seed {seed}: {Convert.ToHexString(mutated)}: {e}");
            }
        }
    }
}
