using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Testing;
using Xunit;

namespace Sals.Kernels.Cuda.Tests.Kernels;

public class AttendItemsTests
{
    [Theory]
    [InlineData(1, 0)]
    [InlineData(2048, 0)]
    [InlineData(2049, 2 + 7)] // sinks and two pages of window, 432 tokens
    [InlineData(8192, 1 + 16)]
    [InlineData(32768, 1 + 32)]
    public void Rows_without_latent_pages_have_none(int length, int items) => Assert.Equal(items, AttendItems.Of(SampleShape.Latent, length));

    [Theory]
    [InlineData(127, 0)]
    [InlineData(128, 2)] // 48 tokens behind the sinks
    [InlineData(192, 3)]
    public void The_window_keeps_short_rows_exact(int length, int items) => Assert.Equal(items, AttendItems.Of(SampleShape.Latent with { DenseBelow = 0 }, length));

    [Fact]
    public void A_row_whose_only_latent_page_is_sinks_has_one() => Assert.Equal(1, AttendItems.Of(SampleShape.Latent with { DenseBelow = 0, SinkTokens = 64 }, 128));

    [Theory]
    [InlineData(2048)]
    [InlineData(2049)]
    [InlineData(20000)]
    public void No_shorter_row_has_more_than_the_most(int longest) =>
        Assert.Equal(Enumerable.Range(1, longest).Max(length => AttendItems.Of(SampleShape.Latent, length)), AttendItems.Most(SampleShape.Latent, longest));
}
