using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Tests.Latent;
using Xunit;

namespace Sals.Engine.Tests.Paging;

public class PageLayoutTests
{
    private static PageLayout Layout(string preset, params string[] settings) =>
        new(LatentModels.Config(), LatentSpecParser.Parse(preset, preset == "dense" ? [] : ["latent_format=float32", .. settings], LatentModels.Config()), ElementType.Float32);

    [Theory]
    // D = 256, 5 compressed layers of 8; bytes of one token and layer: latent R * size, codes D * bits / 8, scales 4 * D / group
    [InlineData("sals-25", "latent_format=float32", 64 * 4 + 128 + 32)]
    [InlineData("sals-25", "latent_format=bf16", 64 * 2 + 128 + 32)]
    [InlineData("sals-25", "latent_format=int8", 128 + 128 + 32)]
    [InlineData("sals-25", "value_group=64", 64 * 4 + 128 + 16)]
    [InlineData("sals-25", "value_bits=3", 64 * 4 + 96 + 32)]
    [InlineData("sals-12.5", "latent_format=bf16", 32 * 2 + 64 + 32)]
    [InlineData("sals-25", "value_bits=16", 64 * 4 + 512)]
    [InlineData("sals-25", "rank_ratio=1", 256 * 4 + 128 + 32)]
    public void Latent_page_bytes(string preset, string setting, int bytesPerToken)
    {
        var layout = Layout(preset, setting);
        Assert.Equal(64 * bytesPerToken, layout.LatentLayerBytes);
        Assert.Equal((5L * 64 * bytesPerToken + 4095) / 4096 * 4096, layout.PageBytes(PoolKind.Latent));
    }

    [Fact]
    public void A_compressed_layer_is_the_ratio_of_the_paper_in_either_format()
    {
        // table 2 prints 0.28: 16-bit latents and 4-bit values with 16-bit scale and zero over 16-bit keys and values
        foreach (var format in new[] { "int8", "bf16", "int4" })
        {
            Assert.Equal(0.28125, Layout("sals-25", $"latent_format={format}").LatentLayerBytes / (64.0 * 2 * 256 * 2));
            Assert.Equal(0.15625, Layout("sals-12.5", $"latent_format={format}").LatentLayerBytes / (64.0 * 2 * 256 * 2));
        }
    }

    [Fact]
    public void Planes_follow_each_other_without_overlap()
    {
        var layout = Layout("sals-25", "value_bits=3");
        var next = 0L;
        foreach (var layer in layout.Spec.SparseLayers)
        {
            Assert.Equal(next, layout.ScoreOffset(layer));
            Assert.Equal(next += 64 * 32 * 4, layout.RestOffset(layer));
            Assert.Equal(next += 64 * 32 * 4, layout.ValueCodeOffset(layer));
            Assert.Equal(next += 64 * 96, layout.ValueScaleOffset(layer));
            next += 64 * 32;
            Assert.Equal(0, next % 64);
        }

        Assert.InRange(layout.LatentPageBytes - next, 0, 4095);
    }

    [Fact]
    public void Layers_of_different_rank_follow_each_other_without_overlap()
    {
        int[] ranks = [48, 16, 96, 80, 80];
        var layout = Layout("sals-25", $"layer_ranks={string.Join(',', ranks)}", "score_rank=16", "latent_format=int8");
        var uniform = Layout("sals-25", "rank=64", "score_rank=16", "latent_format=int8");
        var next = 0L;
        foreach (var (layer, rank) in layout.Spec.SparseLayers.Zip(ranks))
        {
            Assert.Equal(next, layout.ScoreOffset(layer));
            Assert.Equal(next + (64 * 16), layout.RestOffset(layer));
            Assert.Equal(64 * (rank - 16), layout.RestBytes(layer));
            Assert.Equal(next + (64 * rank), layout.ValueCodeOffset(layer));
            Assert.Equal(64 * (rank + 128 + 32), layout.LatentBytes(layer));
            next += layout.LatentBytes(layer);
        }

        // the same bytes as the mean rank everywhere
        Assert.Equal(uniform.LatentPageBytes, layout.LatentPageBytes);
        Assert.Equal(uniform.LatentLayerBytes, layout.MeanLatentLayerBytes);
        Assert.Equal(uniform.MeanLatentLayerBytes, layout.MeanLatentLayerBytes);
        Assert.InRange(layout.LatentPageBytes - next, 0, 4095);
    }

    [Fact]
    public void Int8_dense_pages_hold_codes_then_peaks()
    {
        var layout = Layout("sals-25", "dense_format=int8", "dense_layers=0,5");
        const int layer = 2 * 64 * (256 + (2 * 4)); // D = 256, 4 KV heads
        Assert.Equal((64 * 256, 64 * 4 * 2, layer), (layout.DensePlaneBytes, layout.PeakPlaneBytes, layout.DenseLayerBytes));
        Assert.Equal((0L, 64L * 256, 64L * 1024, (64L * 1024) + 512), (layout.KeyOffset(0), layout.ValueOffset(0), layout.KeyPeakOffset(0), layout.ValuePeakOffset(0)));
        Assert.Equal((64L * 512, 64L * 768, (64L * 1024) + 1024, (64L * 1024) + 1536), (layout.KeyOffset(5), layout.ValueOffset(5), layout.KeyPeakOffset(5), layout.ValuePeakOffset(5)));
        Assert.Equal(((2L * layer) + 4095) / 4096 * 4096, layout.DensePageBytes);

        // hot pages stay exact
        Assert.Equal(64L * 256 * 4, layout.ValueOffset(1));
        Assert.Equal(2L * 64 * 256 * 4, layout.KeyOffset(2));
        Assert.Equal(6L * 2 * 64 * 256 * 4, layout.HotPageBytes);
        Assert.Equal(8L * 2 * 64 * 256 * 4, layout.ExactPageBytes);
    }

    [Fact]
    public void Without_compressed_layers_only_the_dense_pool_exists()
    {
        var layout = Layout("dense");
        Assert.Equal((8L * 2 * 64 * 256 * 4, 0, 0), (layout.PageBytes(PoolKind.Dense), layout.PageBytes(PoolKind.Hot), layout.PageBytes(PoolKind.Latent)));
    }

    [Fact]
    public void Bytes_of_a_sequence_follow_the_timeline()
    {
        var layout = Layout("sals-25", "dense_below=0");
        Assert.Equal(3 * layout.HotPageBytes, layout.SequenceBytes(PoolKind.Hot, 300)); // page 0, and the two of the window
        Assert.Equal(3 * layout.LatentPageBytes, layout.SequenceBytes(PoolKind.Latent, 300));
        Assert.Equal(5 * layout.DensePageBytes, layout.SequenceBytes(PoolKind.Dense, 300));
    }
}
