using Sals.Kernels.Cuda.Kernels.Shared;
using Xunit;

namespace Sals.Kernels.Cuda.Tests.Kernels;

public class DenseRunsTests
{
    [Theory]
    [InlineData(1, 512, 1)]
    [InlineData(512, 512, 1)]
    [InlineData(513, 512, 2)]
    [InlineData(1024, 512, 2)]
    [InlineData(4096, 512, 8)]
    [InlineData(4097, 1024, 5)]
    [InlineData(16384, 1024, 16)]
    [InlineData(16385, 2048, 9)]
    [InlineData(65536, 2048, 32)]
    [InlineData(65537, 4096, 17)]
    [InlineData(131072, 4096, 32)]
    [InlineData(131073, 8192, 17)]
    [InlineData(1 << 20, 32768, 32)]
    public void Runs_double_when_the_row_is_four_times_as_long_and_never_exceed_32(int length, int tokens, int runs)
    {
        Assert.Equal(tokens, DenseRuns.Tokens(length));
        Assert.Equal(runs, DenseRuns.Of(length));
    }

    [Theory]
    [InlineData(1)]
    [InlineData(1100)]
    [InlineData(5000)]
    [InlineData(16384)]
    [InlineData(300000)]
    public void No_shorter_row_has_more_than_the_most(int longest)
    {
        Assert.Equal(Enumerable.Range(1, longest).Max(DenseRuns.Of), DenseRuns.Most(longest));
    }
}
