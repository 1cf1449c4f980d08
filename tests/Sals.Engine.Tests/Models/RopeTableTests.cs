using Sals.Engine.Models;
using Xunit;

namespace Sals.Engine.Tests.Models;

public class RopeTableTests
{
    private static readonly RopeSettings Llama31 = new()
    {
        Theta = 500_000,
        Scaling = RopeScaling.Llama3,
        Factor = 8,
        LowFrequencyFactor = 1,
        HighFrequencyFactor = 4,
        OriginalMaxPositions = 8192,
    };

    private static readonly RopeSettings Qwen25Yarn = new() { Theta = 1e6, Scaling = RopeScaling.Yarn, Factor = 4, OriginalMaxPositions = 32768 };

    [Fact]
    public void Unscaled_frequencies_by_hand()
    {
        // 10000^0, 10000^(-1/4), 10000^(-1/2), 10000^(-3/4)
        AssertClose([1, 0.1, 0.01, 0.001], RopeTable.Frequencies(new RopeSettings { Theta = 10_000 }, 8));
    }

    [Fact]
    public void Linear_divides_every_frequency()
    {
        var settings = new RopeSettings { Theta = 10_000, Scaling = RopeScaling.Linear, Factor = 4 };
        AssertClose([0.25, 0.025, 0.0025, 0.00025], RopeTable.Frequencies(settings, 8));
    }

    // Values of Llama 3.1 computed from the published rule by a separate program.
    [Theory]
    [InlineData(0, 1.0)]
    [InlineData(1, 0.8146172338565447)]
    [InlineData(28, 0.0032114459947525913)]
    [InlineData(29, 0.002166570763503359)]
    [InlineData(30, 0.0013718935677611381)]
    [InlineData(34, 0.00017850781276799638)]
    [InlineData(35, 9.556212353964683e-05)]
    [InlineData(63, 3.068925988914511e-07)]
    public void Llama3_keeps_short_waves_slows_long_ones_and_blends_between(int pair, double expected)
    {
        Assert.Equal(expected, RopeTable.Frequencies(Llama31, 128)[pair], expected * 1e-12);
    }

    [Fact]
    public void Llama3_equals_the_rule_by_wavelengths()
    {
        double[] plain = RopeTable.Frequencies(new RopeSettings { Theta = 500_000 }, 64);
        var settings = Llama31 with { OriginalMaxPositions = 64 };
        double[] expected =
        [
            .. plain.Select(frequency =>
            {
                double wavelength = 2 * Math.PI / frequency;
                double smooth = (64 / wavelength - 1) / (4 - 1);
                return wavelength < 64 / 4.0 ? frequency
                    : wavelength > 64 / 1.0 ? frequency / 8
                    : (1 - smooth) * frequency / 8 + smooth * frequency;
            }),
        ];
        AssertClose(expected, RopeTable.Frequencies(settings, 64));
    }

    // Qwen2.5 with its published yarn settings: the ramp goes from pair 23 to pair 40.
    [Theory]
    [InlineData(0, 1.0)]
    [InlineData(23, 0.006978305848598663)]
    [InlineData(24, 0.005375321490790102)]
    [InlineData(32, 0.0006029411764705882)]
    [InlineData(39, 6.490394320837028e-05)]
    [InlineData(40, 4.445698525097307e-05)]
    [InlineData(63, 3.102344401879299e-07)]
    public void Yarn_interpolates_slow_pairs_along_a_ramp(int pair, double expected)
    {
        Assert.Equal(expected, RopeTable.Frequencies(Qwen25Yarn, 128)[pair], expected * 1e-12);
    }

    [Theory]
    [InlineData(10, 0.056234132519034905)]
    [InlineData(11, 0.041245514010321394)]
    [InlineData(15, 0.010828045598381238)]
    [InlineData(21, 0.0013347140836327985)]
    public void Yarn_without_truncation_uses_the_exact_ramp(int pair, double expected)
    {
        var settings = new RopeSettings { Theta = 10_000, Scaling = RopeScaling.Yarn, Factor = 2, OriginalMaxPositions = 4096, Truncate = false };
        Assert.Equal(expected, RopeTable.Frequencies(settings, 64)[pair], expected * 1e-12);
    }

    [Fact]
    public void Yarn_scales_cos_and_sin_by_its_attention_factor()
    {
        var table = new RopeTable(Qwen25Yarn, 128, 3);

        Assert.Equal(1.138629436111989, table.AttentionFactor, 1e-15);
        Assert.Equal(1.138629436111989f, table.Cos(0)[0]);
        Assert.Equal((float)(1.138629436111989 * Math.Sin(2)), table.Sin(2)[0], 1e-7f);
        Assert.Equal(1.5, RopeTable.AttentionFactorOf(Qwen25Yarn with { AttentionFactor = 1.5 }));
        Assert.Equal(1, RopeTable.AttentionFactorOf(Qwen25Yarn with { Factor = 1 }));
    }

    [Fact]
    public void The_attention_factor_is_yarns_alone()
    {
        Assert.Equal(1, RopeTable.AttentionFactorOf(Llama31 with { AttentionFactor = 1.5 }));
    }

    [Fact]
    public void Tables_hold_cos_and_sin_of_position_times_frequency()
    {
        const int HeadSize = 16;
        const int Positions = 8192;
        var table = new RopeTable(new RopeSettings { Theta = 100_000 }, HeadSize, Positions);

        Assert.Equal(Positions * HeadSize / 2, table.CosTable.Length);
        foreach (int position in new[] { 0, 1, 4095, Positions - 1 })
        {
            for (int i = 0; i < HeadSize / 2; i++)
            {
                double angle = position / Math.Pow(100_000, 2.0 * i / HeadSize);
                Assert.Equal(Math.Cos(angle), table.Cos(position)[i], 1e-7);
                Assert.Equal(Math.Sin(angle), table.Sin(position)[i], 1e-7);
                Assert.Equal(table.Cos(position)[i], table.CosTable[position * HeadSize / 2 + i]);
            }
        }
    }

    [Theory]
    [InlineData(0)]
    [InlineData(7)]
    public void A_head_without_two_halves_is_refused(int headSize)
    {
        Assert.Throws<ArgumentOutOfRangeException>(() => RopeTable.Frequencies(new RopeSettings { Theta = 10_000 }, headSize));
    }

    private static void AssertClose(double[] expected, double[] actual)
    {
        Assert.Equal(expected.Length, actual.Length);
        for (int i = 0; i < expected.Length; i++)
        {
            Assert.Equal(expected[i], actual[i], expected[i] * 1e-12);
        }
    }
}
