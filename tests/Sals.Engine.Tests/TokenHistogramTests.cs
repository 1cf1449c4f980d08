using Xunit;

namespace Sals.Engine.Tests;

public class TokenHistogramTests
{
    [Theory]
    [InlineData(0, 0)]
    [InlineData(1, 0)]
    [InlineData(2, 1)]
    [InlineData(8, 1)]
    [InlineData(9, 2)]
    [InlineData(16, 2)]
    [InlineData(17, 3)]
    [InlineData(16384, 12)]
    [InlineData(16385, 13)]
    [InlineData(int.MaxValue, 13)]
    public void A_step_is_counted_in_the_first_bucket_that_holds_it(int tokens, int bucket)
    {
        var histogram = new TokenHistogram();
        histogram.Observe(tokens);
        Assert.Equal(1, histogram.Count(bucket));
        Assert.Equal(tokens, histogram.Sum);
        Assert.True(bucket == TokenHistogram.Bounds.Count || tokens <= TokenHistogram.Bounds[bucket]);
        Assert.True(bucket == 0 || tokens > TokenHistogram.Bounds[bucket - 1]);
    }
}
