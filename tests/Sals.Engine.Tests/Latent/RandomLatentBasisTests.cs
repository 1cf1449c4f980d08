using Sals.Engine.Latent;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Latent;

public class RandomLatentBasisTests
{
    [Theory]
    [InlineData(2, 64)]
    [InlineData(3, 32)]
    [InlineData(5, 32)]
    public void Vectors_are_orthonormal_whatever_the_width(int heads, int headSize)
    {
        var model = TinyModel.Config() with { LayerCount = 5, KeyValueHeadCount = heads, HeadCount = heads, HeadSize = headSize };
        var spec = LatentSpecParser.Parse("sals-25", ["rank_ratio=0.5", "latent_format=float32"], model);
        var basis = RandomLatentBasis.Of(spec, model);
        foreach (var index in spec.SparseLayers)
        {
            var layer = basis.Layer(index);
            for (var a = 0; a < spec.Rank; a++)
            {
                for (var b = 0; b <= a; b++)
                {
                    double dot = 0;
                    for (var j = 0; j < model.KeyWidth; j++)
                    {
                        dot += (double)layer.Vector(a)[j] * layer.Vector(b)[j];
                    }

                    Assert.Equal(a == b ? 1 : 0, dot, 1e-5);
                }
            }
        }

        Assert.NotEqual(basis.Layer(spec.SparseLayers[0]).Vectors, basis.Layer(spec.SparseLayers[1]).Vectors);
    }
}
