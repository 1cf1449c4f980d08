using Sals.Engine.Backends.Cpu.Reference;
using Xunit;

namespace Sals.Engine.Tests.Backends.Reference;

public class ValueQuantizerTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData(2, 32)]
    [InlineData(3, 32)]
    [InlineData(4, 32)]
    [InlineData(2, 64)]
    [InlineData(3, 128)]
    [InlineData(4, 64)]
    public void Round_trip_equals_a_plain_implementation_bit_for_bit(int bits, int group)
    {
        var seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        for (var round = 0; round < 200; round++)
        {
            var scale = MathF.Pow(10, random.Next(-6, 5));
            float[] values = [.. Enumerable.Range(0, 256).Select(_ => (random.NextSingle() - 0.3f) * scale)];
            var (codes, scales) = Quantise(values, bits, group);
            var back = new float[256];
            ValueQuantizer.Dequantise(codes, scales, bits, group, back);
            Assert.Equal(Plain(values, bits, group), back);
        }
    }

    [Theory]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    public void Error_is_at_most_half_a_step(int bits)
    {
        var random = new Random(7);
        float[] values = [.. Enumerable.Range(0, 64).Select(_ => random.NextSingle() - 0.5f)];
        var (codes, scales) = Quantise(values, bits, 32);
        var back = new float[64];
        ValueQuantizer.Dequantise(codes, scales, bits, 32, back);
        for (var i = 0; i < 64; i++)
        {
            // fp16 rounding of scale and zero adds at most a thousandth of the range
            Assert.InRange(MathF.Abs(values[i] - back[i]), 0, 0.5f * (float)scales[i / 32 * 2] + 2e-3f);
        }
    }

    [Fact]
    public void Four_bit_words_hold_even_elements_low_and_odd_ones_high()
    {
        // values 0..15 quantise to themselves: scale 1, zero 0
        float[] values = [.. Enumerable.Range(0, 32).Select(i => (float)(i % 16))];
        var (codes, scales) = Quantise(values, 4, 32);
        Assert.Equal((1f, 0f), ((float)scales[0], (float)scales[1]));
        Assert.Equal(0x7531_6420u, BitConverter.ToUInt32(codes, 0));
        Assert.Equal(0xFDB9_ECA8u, BitConverter.ToUInt32(codes, 4));
    }

    [Fact]
    public void Two_bit_words_hold_even_elements_low_and_odd_ones_high()
    {
        float[] values = [.. Enumerable.Range(0, 32).Select(i => (float)(i % 4))];
        var (codes, _) = Quantise(values, 2, 32);
        // even elements 0,2,0,2,..: fields 00 10 00 10; odd ones 1,3,1,3,..: 01 11 01 11
        Assert.Equal(0b1101_1101_1101_1101_1000_1000_1000_1000u, BitConverter.ToUInt32(codes, 0));
    }

    [Fact]
    public void Three_bit_blocks_are_two_words_of_low_bits_and_one_of_high_bits()
    {
        float[] values = [.. Enumerable.Range(0, 32).Select(i => i < 16 ? 0f : i == 17 ? 7 : 4)];
        var (codes, _) = Quantise(values, 3, 32);
        Assert.Equal(12, codes.Length);
        Assert.Equal(0u, BitConverter.ToUInt32(codes, 0));
        Assert.Equal(3u << 16, BitConverter.ToUInt32(codes, 4)); // element 17 is the first odd one of the second word
        Assert.Equal(0xFF00_FF00u, BitConverter.ToUInt32(codes, 8)); // even 16..30 are fields 8..15, odd 17..31 fields 24..31
    }

    [Fact]
    public void Constant_groups_keep_their_value()
    {
        float[] values = [.. Enumerable.Repeat(0.75f, 32), .. Enumerable.Repeat(-2f, 32)];
        var (codes, scales) = Quantise(values, 2, 32);
        var back = new float[64];
        ValueQuantizer.Dequantise(codes, scales, 2, 32, back);
        Assert.Equal(values, back);
    }

    [Fact]
    public void A_nan_spoils_its_group_only()
    {
        float[] values = [.. Enumerable.Range(0, 64).Select(i => (float)i)];
        values[3] = float.NaN;
        var (codes, scales) = Quantise(values, 4, 32);
        var back = new float[64];
        ValueQuantizer.Dequantise(codes, scales, 4, 32, back);
        Assert.All(back[..32], x => Assert.True(float.IsNaN(x)));
        Assert.All(back[32..], x => Assert.True(float.IsFinite(x)));
    }

    [Fact]
    public void Values_beyond_half_range_saturate()
    {
        float[] values = new float[32];
        values[0] = 1e9f;
        values[1] = -1e9f;
        foreach (var bits in new[] { 2, 4, 16 })
        {
            var (codes, scales) = Quantise(values, bits, 32);
            var back = new float[32];
            ValueQuantizer.Dequantise(codes, scales, bits, 32, back);
            Assert.InRange(back[0], 65000, 66000);
            Assert.InRange(back[1], -65504, -65000);
        }
    }

    private static (byte[] Codes, Half[] Scales) Quantise(float[] values, int bits, int group)
    {
        var codes = new byte[values.Length * bits / 8];
        Array.Fill(codes, (byte)0xA5);
        var scales = new Half[bits == 16 ? 0 : values.Length / group * 2];
        ValueQuantizer.Quantise(values, bits, group, codes, scales);
        return (codes, scales);
    }

    private static float[] Plain(float[] values, int bits, int group)
    {
        var back = new float[values.Length];
        for (var start = 0; start < values.Length; start += group)
        {
            float low = float.MaxValue, high = float.MinValue;
            for (var i = start; i < start + group; i++)
            {
                low = Math.Min(low, values[i]);
                high = Math.Max(high, values[i]);
            }

            var levels = Math.Pow(2, bits) - 1;
            var scale = (float)(Half)((high - low) / (float)levels);
            var zero = (float)(Half)low;
            for (var i = start; i < start + group; i++)
            {
                double code = scale == 0 ? 0 : Math.Round((double)((values[i] - zero) / scale), MidpointRounding.ToEven);
                code = code < 0 ? 0 : code > levels ? levels : code;
                back[i] = (float)((float)(code * scale) + (double)zero);
            }
        }

        return back;
    }
}
