using System.Globalization;
using Sals.Engine.Backends.Cuda;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Tests.Latent;
using Xunit;

namespace Sals.Engine.Tests.Paging;

/// <summary>
/// What the whole cache of the 8B shape (Mistral-7B, Llama 3.1 8B) weighs on the GPU: pages that a sequence of a length holds, window and sink page and reserved latent
/// pages included, and the device's bases, over bf16 keys and values of all layers.
/// </summary>
public class CompressionTests(ITestOutputHelper output)
{
    private static readonly ModelConfig Shape = LatentModels.Config(layers: 32, keyValueHeads: 8, headSize: 128, heads: 32) with { MaxModelLength = 131072 };

    [Theory]
    [InlineData("sals-25", 0)]
    [InlineData("sals-12.5", 4.1)]
    [InlineData("sals-12.5 latent_format=bf16", 4.2)]
    [InlineData("sals-12.5 dense_format=int8", 0)]
    [InlineData("sals-25 rank_ratio=0.25 dense_format=int8", 0)]
    [InlineData("sals-12.5 rank_ratio=0.125 dense_format=int8", 6.1)]
    [InlineData("sals-12.5 rank_ratio=0.125 dense_format=int8 value_group=64", 6.6)]
    [InlineData("sals-12.5 rank_ratio=0.125 dense_format=int8 value_group=64 basis_groups=2", 6.6)]
    public void Whole_model_at_128K(string cache, double atLeast)
    {
        var words = cache.Split(' ');
        var spec = LatentSpecParser.Parse(words[0], words[1..], Shape);
        var layout = new PageLayout(Shape, spec, ElementType.BFloat16);
        var bases = CudaBasis.BytesOf(layout);

        // what folding the scoring query adds to the projection weights, which are no pages and no bases, but are there for the cache alone
        var folded = (long)spec.SparseLayers.Length * spec.ScoreRank * Shape.HiddenSize * 2;
        double exact = 2.0 * Shape.LayerCount * Shape.KeyWidth * 2;
        foreach (var length in new[] { 4096, 32768, 131072 })
        {
            double[] pools = [.. PoolKinds.All.Select(pool => (double)layout.PageBytes(pool) * layout.HeldPages(pool, length, length) / length)];
            output.WriteLine(string.Create(CultureInfo.InvariantCulture,
                $"{cache}, {length,7:#,0} tokens: dense {pools[0]:#,0} + hot {pools[1]:#,0} + latent {pools[2]:#,0} + bases {bases / (double)length:#,0} + folded {folded / (double)length:#,0} bytes a token of {exact:#,0}; ")
                + string.Create(CultureInfo.InvariantCulture,
                    $"{Ratio(1, 0):0.00} x with one sequence ({Ratio(1, folded):0.00} with folded weights), {Ratio(4, 0):0.00} x with four ({Ratio(4, folded):0.00})"));

            double Ratio(int sequences, long more) => exact / (pools.Sum() + ((bases + more) / (double)(length * sequences)));
            if (length == 131072)
            {
                Assert.InRange(Ratio(1, 0), atLeast, 8);
                Assert.InRange(Ratio(4, folded), atLeast, 8);
            }
        }
    }
}
