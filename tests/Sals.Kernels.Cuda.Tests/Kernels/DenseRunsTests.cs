using Sals.Kernels.Cuda.Kernels.Shared;
using Xunit;

namespace Sals.Kernels.Cuda.Tests.Kernels;

public class DenseRunsTests
{
    [Theory]
    [InlineData(1, 256, 1)]
    [InlineData(256, 256, 1)]
    [InlineData(257, 256, 2)]
    [InlineData(8192, 256, 32)]
    [InlineData(8193, 512, 17)]
    [InlineData(16384, 512, 32)]
    [InlineData(16385, 1024, 17)]
    [InlineData(131072, 4096, 32)]
    [InlineData(131073, 8192, 17)]
    public void Runs_double_where_a_row_would_have_more_than_32(int length, int tokens, int runs)
    {
        Assert.Equal(tokens, DenseRuns.Tokens(length));
        Assert.Equal(runs, DenseRuns.Of(length));
    }

    [Theory]
    [InlineData(255)]
    [InlineData(5000)]
    [InlineData(8192)]
    [InlineData(40000)]
    public void No_shorter_row_has_more_than_the_most(int longest)
    {
        Assert.Equal(Enumerable.Range(1, longest).Max(DenseRuns.Of), DenseRuns.Most(longest));
    }
}
