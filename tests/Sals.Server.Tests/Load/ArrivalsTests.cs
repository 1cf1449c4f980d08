using Sals.Server.Load;
using Xunit;

namespace Sals.Server.Tests.Load;

public class ArrivalsTests
{
    [Theory]
    [InlineData(0.2)]
    [InlineData(0.5)]
    [InlineData(1)]
    [InlineData(4)]
    [InlineData(100)]
    public void Gaps_have_the_mean_and_the_spread_of_the_gamma_distribution(double burstiness)
    {
        const double rate = 50;
        var times = Arrivals.Schedule(200_001, rate, burstiness, new Random(7));
        Assert.Equal(0, times[0]);
        var gaps = times.Zip(times.Skip(1), (from, to) => to - from).ToArray();
        Assert.All(gaps, gap => Assert.True(gap >= 0));
        var mean = gaps.Average();
        var relative = Math.Sqrt(gaps.Average(gap => (gap - mean) * (gap - mean))) / mean;
        Assert.Equal(1 / rate, mean, 0.02 / rate);
        Assert.Equal(1 / Math.Sqrt(burstiness), relative, 0.02 / Math.Sqrt(burstiness));
    }

    [Fact]
    public void Without_a_rate_everything_is_due_at_once() =>
        Assert.All(Arrivals.Schedule(5, double.PositiveInfinity, 1, new Random(1)), time => Assert.Equal(0, time));

    [Fact]
    public void The_same_seed_gives_the_same_schedule() =>
        Assert.Equal(Arrivals.Schedule(50, 3, 0.7, new Random(9)), Arrivals.Schedule(50, 3, 0.7, new Random(9)));
}
