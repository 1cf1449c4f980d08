using Sals.Engine.Models;
using Xunit;

namespace Sals.Engine.Tests.Models;

public class ModelFolderTests
{
    [Theory]
    [MemberData(nameof(GoldenFolders.All), MemberType = typeof(GoldenFolders))]
    public void Every_checkpoint_of_the_repository_opens(string relative)
    {
        using var folder = ModelFolder.Open(Path.Combine(GoldenFolders.Root, relative));

        var config = folder.Config;
        Assert.Equal(config.LayerCount, folder.Weights.Layers.Length);
        Assert.Equal((config.VocabularySize, config.HiddenSize), (folder.Weights.Embedding.Rows, folder.Weights.Embedding.Columns));
        Assert.Equal(config.TiedEmbeddings, ReferenceEquals(folder.Weights.Embedding, folder.Weights.Head));
        foreach (var layer in folder.Weights.Layers)
        {
            Assert.Equal((config.QueryWidth, config.HiddenSize), (layer.Query.Rows, layer.Query.Columns));
            Assert.Equal((config.KeyWidth, config.HiddenSize), (layer.Key.Rows, layer.Key.Columns));
            Assert.Equal((config.HiddenSize, config.IntermediateSize), (layer.Down.Rows, layer.Down.Columns));
            Assert.Equal(config.QueryKeyValueBias, layer.KeyBias is not null);
            Assert.Equal(config.QueryKeyNorm, layer.QueryNorm is not null);
            float[] row = new float[layer.Key.Columns];
            layer.Key.Read(layer.Key.Rows - 1, 1, row);
            Assert.All(row, value => Assert.True(float.IsFinite(value)));
            Assert.Contains(row, value => value != 0);
        }
    }

    [Fact]
    public void The_embedded_model_is_what_its_card_says()
    {
        using var folder = ModelFolder.Open(GoldenFolders.Embedded);

        Assert.Equal(
            (8, 512, 1024, 8192, 8, 4, 64, 8192),
            (folder.Config.LayerCount, folder.Config.HiddenSize, folder.Config.IntermediateSize, folder.Config.VocabularySize, folder.Config.HeadCount,
                folder.Config.KeyValueHeadCount, folder.Config.HeadSize, folder.Config.MaxModelLength));
        Assert.Equal([2, 0], folder.Config.EndTokenIds);
        Assert.Null(folder.Config.BeginTokenId);
        Assert.Equal(100_000, folder.Config.Rope.Theta);
        Assert.Equal(ElementType.BFloat16, folder.Weights.Embedding.Type);
        Assert.Equal(0, folder.Generation.Temperature);
        Assert.Equal(256, folder.Generation.MaxNewTokens);
        Assert.NotNull(folder.Tokenizer.TokenizerJson);
        Assert.NotNull(folder.Tokenizer.TokenizerConfig);
        Assert.Null(folder.Tokenizer.SentencePiece);
    }

    [Fact]
    public void The_end_token_of_the_tokenizer_joins_the_others_once()
    {
        using var folder = ModelFolder.Open(GoldenFolders.Embedded, tokenizerEndTokenId: 7);
        using var same = ModelFolder.Open(GoldenFolders.Embedded, tokenizerEndTokenId: 2);

        Assert.Equal([2, 0, 7], folder.Config.EndTokenIds);
        Assert.Equal([2, 0], same.Config.EndTokenIds);
    }

    [Fact]
    public void Tensors_cannot_be_read_once_the_weights_are_disposed()
    {
        var folder = ModelFolder.Open(GoldenFolders.Micro("llama2-mha"));
        var tensor = folder.Weights.FinalNorm;
        folder.Dispose();
        folder.Dispose();

        Assert.Throws<ObjectDisposedException>(() => tensor.RowBytes(0, 1).Length);
    }
}
