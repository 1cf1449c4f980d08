using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Tests.Latent;
using Xunit;

namespace Sals.Engine.Tests.Backends.Reference;

public class FlushPagesTests
{
    private const int Position = 640;
    private static readonly ModelConfig Model = LatentModels.Config(layers: 4, keyValueHeads: 2, headSize: 32, heads: 4);
    private static readonly RopeTable Rope = new(Model.Rope, 32, 1024);

    [Theory]
    [InlineData("rank_ratio=1", "value_bits=16", false, 2e-6)]
    [InlineData("rank_ratio=1", "value_bits=16", true, 2e-6)]
    public void Full_rank_gives_the_page_back(string rank, string bits, bool centred, double tolerance)
    {
        var (page, keys, values, basis, layout) = Flush(Spec(rank, bits, $"centred={(centred ? "true" : "false")}"));
        float[] backKeys = new float[keys.Length], backValues = new float[values.Length];
        ReconstructPages.Run(page, Position, Rope, basis, layout, 2, new float[64 * layout.Spec.Rank], backKeys, backValues);
        for (var i = 0; i < keys.Length; i++)
        {
            Assert.InRange(backKeys[i] - keys[i], -tolerance, tolerance);
            Assert.InRange(backValues[i] - values[i], -1e-3, 1e-3);
        }
    }

    [Theory]
    [InlineData("float32", 1e-5)]
    [InlineData("bf16", 1.0 / 256)]
    [InlineData("int8", 0.03)]
    public void Reconstruction_equals_a_plain_projection(string format, double tolerance)
    {
        var spec = Spec("rank=16", "score_rank=16", $"latent_format={format}", "centred=true");
        var (page, keys, values, basis, layout) = Flush(spec);
        float[] backKeys = new float[keys.Length], backValues = new float[values.Length];
        ReconstructPages.Run(page, Position, Rope, basis, layout, 2, new float[64 * layout.Spec.Rank], backKeys, backValues);
        for (var t = 0; t < 64; t++)
        {
            var expected = PlainReconstruction(keys.AsSpan(t * 64, 64).ToArray(), basis, Position + t);
            for (var d = 0; d < 64; d++)
            {
                Assert.InRange(backKeys[t * 64 + d] - expected[d], -tolerance, tolerance);
            }
        }

        Assert.NotEqual(values, backValues); // 4-bit values are lossy
    }

    [Fact]
    public void Scored_coordinates_lie_in_their_own_plane()
    {
        var spec = Spec("rank=32", "score_rank=8");
        var (page, keys, _, basis, layout) = Flush(spec);
        var planes = new LatentPlanes(page, layout, 2);
        var key = new float[64];
        var stored = new float[32];
        for (var t = 0; t < 64; t++)
        {
            FlushPages.Unrotate(keys.AsSpan(t * 64, 64), Rope.Cos(Position + t), Rope.Sin(Position + t), key);
            LatentCodec.Load(planes.ScorePlane.Slice(t * 8 * 4, 8 * 4), LatentFormat.Float32, basis, 0, stored.AsSpan(0, 8));
            LatentCodec.Load(planes.Rest(t), LatentFormat.Float32, basis, 8, stored.AsSpan(8));
            for (var i = 0; i < 32; i++)
            {
                var expected = Enumerable.Range(0, 64).Sum(d => (double)basis.Vectors[i * 64 + d] * key[d]);
                Assert.InRange(stored[i] - expected, -1e-5, 1e-5);
            }
        }
    }

    [Fact]
    public void Only_the_layer_s_bytes_are_written()
    {
        var spec = Spec("rank=32", "value_bits=3");
        var layout = new PageLayout(Model, spec, ElementType.Float32);
        var page = new byte[layout.LatentPageBytes];
        Array.Fill(page, (byte)0xCC);
        var random = new Random(5);
        var basis = RandomBasis.Create(random, 64, 32, centred: false);
        FlushPages.Run(Floats(random, 64 * 64), Floats(random, 64 * 64), 0, Rope, basis, layout, 2, page);
        Assert.All(page[..layout.LatentLayerBytes], b => Assert.Equal(0xCC, b)); // layer 1 comes first
        Assert.All(page[(2 * layout.LatentLayerBytes)..], b => Assert.Equal(0xCC, b));
        Assert.NotEqual(0xCC, page[layout.LatentLayerBytes]);
    }

    [Fact]
    public void Unrotating_undoes_rope_even_with_an_attention_factor()
    {
        var yarn = new RopeTable(new RopeSettings { Theta = 10000, Scaling = RopeScaling.Yarn, Factor = 4, OriginalMaxPositions = 256, BetaFast = 32, BetaSlow = 1 }, 32, 1024);
        Assert.NotEqual(1, yarn.AttentionFactor);
        var key = Floats(new Random(6), 64);
        var rotated = key.ToArray();
        Sals.Engine.Backends.Cpu.Reference.Rope.Run(rotated, yarn.Cos(777), yarn.Sin(777));
        var back = new float[64];
        FlushPages.Unrotate(rotated, yarn.Cos(777), yarn.Sin(777), back);
        for (var i = 0; i < 64; i++)
        {
            Assert.InRange(back[i] - key[i], -1e-6, 1e-6);
        }
    }

    [Fact]
    public void Latent_codes_round_to_even_and_clip()
    {
        Assert.Equal([2, 2, -2, 127, -127, 0], new[] { 1.5f, 2.5f, -1.5f, 1e9f, -1e9f, float.NaN }.Select(x => (int)LatentCodec.ToCode(x, 1)));
        Assert.Equal(0x3F80, LatentCodec.ToBFloat16(1.00390625f)); // halfway, to even
        Assert.Equal(0x3F82, LatentCodec.ToBFloat16(1.01171875f));
        Assert.Equal(0x7F80, LatentCodec.ToBFloat16(float.MaxValue));
        Assert.True((LatentCodec.ToBFloat16(BitConverter.UInt32BitsToSingle(0x7F800001)) & 0x7F) != 0);
    }

    private static LatentSpec Spec(params string[] settings) => LatentSpecParser.Parse("sals-25", ["latent_format=float32", .. settings], Model);

    private static float[] Floats(Random random, int count) => [.. Enumerable.Range(0, count).Select(_ => random.NextSingle() - 0.5f)];

    private static (byte[] Page, float[] Keys, float[] Values, LatentBasisLayer Basis, PageLayout Layout) Flush(LatentSpec spec)
    {
        var random = new Random(42);
        var layout = new PageLayout(Model, spec, ElementType.Float32);
        var basis = RandomBasis.Create(random, 64, spec.Rank, spec.Centred);
        float[] keys = Floats(random, 64 * 64), values = Floats(random, 64 * 64);
        var page = new byte[layout.LatentPageBytes];
        FlushPages.Run(keys, values, Position, Rope, basis, layout, 2, page);
        return (page, keys, values, basis, layout);
    }

    private static double[] PlainReconstruction(float[] rotated, LatentBasisLayer basis, int position)
    {
        double[] key = Turn(Array.ConvertAll(rotated, x => (double)x), position, -1);
        var latent = new double[basis.Rank];
        for (var i = 0; i < basis.Rank; i++)
        {
            for (var d = 0; d < 64; d++)
            {
                latent[i] += basis.Vectors[i * 64 + d] * (key[d] - basis.Mean[d]);
            }
        }

        var back = new double[64];
        for (var d = 0; d < 64; d++)
        {
            back[d] = basis.Mean[d];
            for (var i = 0; i < basis.Rank; i++)
            {
                back[d] += basis.Vectors[i * 64 + d] * latent[i];
            }
        }

        return Turn(back, position, 1);
    }

    private static double[] Turn(double[] x, int position, int sign)
    {
        var y = new double[64];
        for (var head = 0; head < 64; head += 32)
        {
            for (var i = 0; i < 16; i++)
            {
                var angle = sign * position * Math.Pow(10000, -2.0 * i / 32);
                y[head + i] = x[head + i] * Math.Cos(angle) - x[head + 16 + i] * Math.Sin(angle);
                y[head + 16 + i] = x[head + 16 + i] * Math.Cos(angle) + x[head + i] * Math.Sin(angle);
            }
        }

        return y;
    }
}
