using System.Runtime.InteropServices;
using Sals.Kernels.Cuda.Kernels.Shared;
using Xunit;

namespace Sals.Kernels.Cuda.Tests.Kernels;

/// <summary>The image is read here as a thread of latent_keys.cuh reads it: operand registers in the order in which 16-byte loads of latents fill them.</summary>
public class BasisImageTests
{
    [Theory]
    [InlineData(128, 2, 256, 1, true)]
    [InlineData(128, 1, 48, 1, true)]
    [InlineData(64, 3, 80, 1, true)]
    [InlineData(128, 2, 64, 1, false)]
    [InlineData(64, 2, 48, 1, false)]
    [InlineData(128, 4, 256, 2, true)]
    [InlineData(64, 3, 144, 3, false)]
    [InlineData(64, 4, 256, 4, true)]
    public void Registers_of_a_thread_give_the_keys(int headSize, int heads, int rank, int groups, bool int8)
    {
        var random = new Random(headSize + rank);
        int width = headSize * heads, scoreRank = 16 * groups, share = rank / groups;
        float[] vectors = Numbers(rank * width, 1), mean = Numbers(width, 3), scale = int8 ? [.. Numbers(rank, 0.01f).Select(Math.Abs)] : [];
        var latent = int8 ? [.. Enumerable.Range(0, rank).Select(_ => (float)random.Next(-127, 128))] : Numbers(rank, 2);
        var image = BasisImage.Of(vectors, scale, mean, headSize, groups, scoreRank);
        Assert.Equal(BasisImage.BytesOf(heads, headSize, share), image.Bytes.Length);
        Assert.Equal(image.KeyScale, MathF.ScaleB(1, MathF.ILogB(image.KeyScale)));
        for (var head = 0; head < heads; head++)
        {
            for (var row = 0; row < headSize; row++)
            {
                // accumulator j of lane t, element e
                int j = row / 8, t = row / 2 % 4, e = row % 2, half = headSize / 16;
                var channel = (head * headSize) + (j / half * (headSize / 2)) + (t * (headSize / 8)) + (j % half * 2) + e;
                double sum = image.Bias[channel], expected = mean[channel], size = Math.Abs(mean[channel]);
                // a group's share of either plane: 16 scored coordinates, then the rest
                var group = head / (heads / groups);
                int Coordinate(int nth) => nth < 16 ? (group * 16) + nth : scoreRank + (group * (share - 16)) + nth - 16;
                foreach (var (nth, bits) in Operands(image, headSize, share, head, row, int8))
                {
                    var coordinate = Coordinate(nth);
                    // as widened: 1152 more than the code
                    sum += int8 ? (latent[coordinate] + 1152) * (double)BitConverter.UInt16BitsToHalf(bits) : latent[coordinate] * (double)BitConverter.UInt32BitsToSingle((uint)bits << 16);
                }

                for (var nth = 0; nth < share; nth++)
                {
                    var r = Coordinate(nth);
                    var term = latent[r] * (double)vectors[(r * width) + channel] * (int8 ? scale[r] : 1);
                    expected += term;
                    size += Math.Abs(term);
                }

                // fp16 and bf16 keep 11 and 8 bits of an entry, float32 24 of the bias
                Assert.InRange(sum * image.KeyScale, expected - (size * (int8 ? 2e-3 : 5e-3)), expected + (size * (int8 ? 2e-3 : 5e-3)));
            }
        }

        float[] Numbers(int count, float largest) => [.. Enumerable.Range(0, count).Select(_ => ((2 * random.NextSingle()) - 1) * largest)];
    }

    [Fact]
    public void Basis_of_zeros_keeps_the_mean()
    {
        var image = BasisImage.Of(new float[16 * 64], new float[16], [.. Enumerable.Range(0, 64).Select(i => (float)i)], 64);
        Assert.All(image.Bytes, b => Assert.Equal(0, b));
        Assert.Equal(Enumerable.Range(0, 64).Select(i => (float)i), image.Bias.Select(b => b * image.KeyScale));
    }

    // (latent coordinate, entry) of one row of the right operand, in the order of a lane's loads: chunk, 16 bytes of lane t, then steps and registers
    private static IEnumerable<(int Coordinate, ushort Bits)> Operands(BasisImage image, int headSize, int rank, int head, int row, bool int8)
    {
        var entries = MemoryMarshal.Cast<byte, ushort>(image.Bytes).ToArray();
        int blocks = (rank + 63) / 64, chunk = int8 ? 64 : 32, steps = chunk / 16;
        for (var c = 0; c < (rank + chunk - 1) / chunk; c++)
        {
            for (var t = 0; t < 4; t++)
            {
                for (var i = 0; i < chunk / 4; i++)
                {
                    // number i of the lane's load: four a step, two a register
                    int coordinate = (c * chunk) + (t * chunk / 4) + i, step = (c * steps) + (i / 4), k = (step % 4 * 16) + (i % 4 / 2 * 8) + (t * 2) + (i % 2);
                    var at = (((((head * blocks) + (step / 4)) * headSize) + row) * 64) + (((k / 8) ^ (row % 8)) * 8) + (k % 8);
                    if (coordinate < rank)
                    {
                        yield return (coordinate, entries[at]);
                    }
                    else
                    {
                        Assert.Equal(0, entries[at]);
                    }
                }
            }
        }
    }
}
