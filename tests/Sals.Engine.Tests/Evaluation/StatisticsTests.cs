using Sals.Engine.Evaluation;
using Xunit;

namespace Sals.Engine.Tests.Evaluation;

public class StatisticsTests
{
    // Wilson's interval from its definition: the p for which |hits/n - p| = z sqrt(p (1 - p) / n)
    [Theory]
    [InlineData(50, 100)]
    [InlineData(1, 8)]
    [InlineData(97, 100)]
    [InlineData(499, 500)]
    public void Both_ends_of_the_interval_solve_the_score_equation(int hits, int count)
    {
        var proportion = new Proportion(hits, count);
        var (low, high) = proportion.Interval;
        Assert.True(low < proportion.Share && proportion.Share < high);
        foreach (var p in new[] { low, high })
        {
            Assert.Equal(1.959963984540054, Math.Abs(proportion.Share - p) / Math.Sqrt(p * (1 - p) / count), 1e-9);
        }
    }

    [Fact]
    public void Known_values()
    {
        var half = new Proportion(50, 100);
        Assert.Equal(0.05, half.StandardError, 1e-12);
        Assert.Equal(0.4038, half.Interval.Low, 1e-4);
        Assert.Equal(0.5962, half.Interval.High, 1e-4);
        Assert.Equal(0.3, new Proportion(1, 10).StandardError * Math.Sqrt(10), 1e-12);

        // s^2 of 1, 2, 3, 4 is 5/3
        var mean = SampleMean.Of([1, 2, 3, 4]);
        Assert.Equal(2.5, mean.Mean);
        Assert.Equal(Math.Sqrt(5.0 / 3 / 4), mean.StandardError, 1e-12);
        Assert.Equal(4, mean.Count);
    }

    [Fact]
    public void All_or_none_leave_an_interval_but_no_error()
    {
        var all = new Proportion(8, 8);
        Assert.Equal(0, all.StandardError);
        Assert.Equal(1, all.Interval.High);
        Assert.Equal(8 / (8 + (1.959963984540054 * 1.959963984540054)), all.Interval.Low, 1e-12);
        var none = new Proportion(0, 8);
        Assert.Equal(0, none.Interval.Low);
        Assert.Equal(1 - all.Interval.Low, none.Interval.High, 1e-12);
    }

    [Fact]
    public void A_single_sample_has_no_error_and_none_is_refused()
    {
        Assert.True(double.IsNaN(SampleMean.Of([3]).StandardError));
        Assert.Throws<ArgumentOutOfRangeException>(() => SampleMean.Of([]));
    }
}
