using Sals.Engine.Backends.Cpu;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Scheduling;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Backends.Reference;

public class HeadCodesTests
{
    private static (ushort Peak, sbyte[] Codes, float[] Back) RoundTrip(params float[] head)
    {
        var codes = new sbyte[head.Length];
        var back = new float[head.Length];
        var peak = HeadCodes.Quantise(head, codes);
        HeadCodes.Dequantise(codes, peak, back);
        return (peak, codes, back);
    }

    [Fact]
    public void Ties_round_to_even_and_the_largest_has_code_127()
    {
        var (peak, codes, back) = RoundTrip(127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -127, 126.4f);
        Assert.Equal(0x42FE, peak); // 127 in bf16
        Assert.Equal([127, 0, 2, 2, 0, -2, -127, 126], codes);
        Assert.Equal([127, 0, 2, 2, 0, -2, -127, 126], back.Select(x => MathF.Round(x, 4)));
    }

    [Fact]
    public void A_largest_number_between_two_bf16_is_clipped_by_less_than_half_a_code()
    {
        // 1 + 2^-8 is half way between 1 and the next bf16, and goes to the even one, 1
        var (peak, codes, back) = RoundTrip(1 + (1f / 256), -1 - (1f / 256), 0.25f);
        Assert.Equal(0x3F80, peak);
        Assert.Equal([127, -127, 32], codes);
        Assert.InRange(1 + (1f / 256) - back[0], 0, 0.5f / 127);
    }

    [Fact]
    public void Zeros_and_numbers_too_small_to_divide_by_give_zeros()
    {
        Assert.Equal((ushort)0, RoundTrip(0, -0f, 0).Peak);
        var (peak, codes, back) = RoundTrip(1e-31f, -1e-38f, 0);
        Assert.Equal((ushort)0, peak);
        Assert.All(codes, code => Assert.Equal(0, code));
        Assert.All(back, x => Assert.Equal(0, x));
        Assert.Equal(127, RoundTrip(8e-31f, 0).Codes[0]);
    }

    [Theory]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    [InlineData(float.NegativeInfinity)]
    public void One_number_that_is_none_spoils_its_head_and_no_other(float spoilt)
    {
        Assert.All(RoundTrip(1, spoilt, 3).Back, x => Assert.True(float.IsNaN(x)));
        Assert.All(RoundTrip(1, spoilt, 3).Codes, code => Assert.Equal(0, code));
    }

    [Fact]
    public void Random_heads_err_by_half_a_code_and_come_back_to_the_same_codes()
    {
        var seed = Random.Shared.Next();
        var random = new Random(seed);
        for (var trial = 0; trial < 500; trial++)
        {
            var size = MathF.Pow(10, random.Next(-20, 30));
            float[] head = [.. Enumerable.Range(0, 128).Select(_ => (float)((random.NextDouble() - 0.5) * (random.NextDouble() - 0.5) * size))];
            var (peak, codes, back) = RoundTrip(head);
            var largest = head.Max(Math.Abs);
            Assert.Equal(127, codes.Max(code => Math.Abs((int)code)));
            for (var i = 0; i < head.Length; i++)
            {
                Assert.True(Math.Abs(head[i] - back[i]) <= largest / 127 * 0.503f, $"{head[i]} became {back[i]}, largest {largest} (seed {seed})");
            }

            var again = RoundTrip(back);
            Assert.Equal(peak, again.Peak);
            Assert.Equal(codes, again.Codes);
        }
    }

    [Fact]
    public void A_token_is_stored_and_loaded_without_touching_its_neighbours()
    {
        var config = TinyModel.Config() with { LayerCount = 2 };
        var layout = new PageLayout(config, LatentSpec.Dense(2) with { DenseInt8 = true }, ElementType.Float32);
        var cache = new CpuCache(layout, 1, 128, 1 << 22);
        cache.Apply(new PageEdit(PoolKind.Dense, 0, 1, (int)(layout.DensePageBytes / PageLayout.Unit)));
        var page = cache.Page(PoolKind.Dense, cache.Table(PoolKind.Dense, 0)[1]);
        Poison.Fill(page);
        var random = new Random(4);
        float[] keys = [.. Enumerable.Range(0, config.KeyWidth).Select(_ => random.NextSingle() - 0.5f)];
        float[] values = [.. keys.Select(x => 3 - x)];
        cache.Store(PoolKind.Dense, 0, 1, 64 + 63, keys, values);
        float[] keysBack = [.. keys], valuesBack = [.. values];
        cache.Load(PoolKind.Dense, 0, 1, 64 + 63, keysBack, valuesBack);
        Close.To(keys, keysBack, 0.5 / 127);
        Close.To(values, valuesBack, 3.5 / 127);

        // codes of D channels twice, a peak for each head twice; K in the last row of its plane
        Assert.InRange(page.Length - page.Count(Poison.Byte), (2 * config.KeyWidth) - 8, 2 * (config.KeyWidth + (2 * config.KeyValueHeadCount)));
        Assert.True(Poison.IsWhole(page[..(int)layout.KeyOffset(1)]));
        Assert.True(Poison.IsWhole(page.Slice((int)layout.KeyOffset(1), 63 * config.KeyWidth)));
        Assert.True(Poison.IsWhole(page[(int)(layout.ValuePeakOffset(1) + layout.PeakPlaneBytes)..]));
    }
}
