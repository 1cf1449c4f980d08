using Sals.Engine.Latent;
using Sals.Engine.Paging;
using Sals.Engine.Tests.Latent;
using Xunit;

namespace Sals.Engine.Tests.Paging;

public class CacheTimelineTests
{
    private static LatentSpec Spec(params string[] settings) => LatentSpecParser.Parse("sals-25", settings, LatentModels.Config());

    [Theory]
    [InlineData(0, 64, 0, 0)]
    [InlineData(0, 64, 64, 0)]
    [InlineData(0, 64, 127, 0)]
    [InlineData(0, 64, 128, 1)] // 64 tokens lie before the last 64
    [InlineData(0, 64, 191, 1)]
    [InlineData(0, 64, 192, 2)]
    [InlineData(0, 1, 64, 0)] // the row's own token is not stored yet: page 0 holds 63 tokens
    [InlineData(0, 1, 65, 1)]
    [InlineData(0, 100, 163, 0)]
    [InlineData(0, 100, 164, 1)]
    [InlineData(2048, 64, 2048, 0)]
    [InlineData(2048, 64, 2049, 31)] // crossing dense_below flushes everything that is due
    [InlineData(2048, 64, 2112, 32)]
    [InlineData(100, 128, 101, 0)] // shorter than the window
    public void Latent_pages(int denseBelow, int recent, int length, int expected) =>
        Assert.Equal(expected, CacheTimeline.LatentPages(length, Spec($"dense_below={denseBelow}", $"recent_tokens={recent}")));

    [Fact]
    public void Latent_pages_are_complete_before_the_row_and_the_window_holds_recent_to_recent_plus_63()
    {
        foreach (var recent in new[] { 1, 2, 63, 64, 65, 200 })
        {
            foreach (var denseBelow in new[] { 0, 130, 2048 })
            {
                var spec = Spec($"dense_below={denseBelow}", $"recent_tokens={recent}");
                var before = 0;
                for (var length = 1; length <= 2400; length++)
                {
                    var pages = CacheTimeline.LatentPages(length, spec);
                    Assert.True(pages >= before, "pages never become hot again");
                    Assert.True(64 * pages <= length - 1, "a flushed page is stored completely");
                    if (length > denseBelow && length >= recent)
                    {
                        Assert.InRange(length - CacheTimeline.WindowStart(length, spec), recent, recent + 63);
                    }

                    before = pages;
                }
            }
        }
    }

    [Theory]
    [InlineData(127, 0, 0, 0)]
    [InlineData(128, 16, 48, 48)] // page 0 is latent too; its tokens 16..63 are candidates
    [InlineData(512, 16, 432, 432)] // exactly the critical count: nothing to score
    [InlineData(576, 16, 496, 432)]
    public void Sinks_candidates_and_selected(int length, int sinks, int candidates, int selected)
    {
        var spec = Spec("dense_below=0");
        Assert.Equal((sinks, candidates, selected), (CacheTimeline.SinkCount(length, spec), CacheTimeline.CandidateCount(length, spec), CacheTimeline.SelectedCount(length, spec)));
    }

    [Theory]
    //         sinks length  hot pages          latent pages
    [InlineData(16, 100, new[] { 0, 1 }, new int[0])]
    [InlineData(16, 128, new[] { 0, 1 }, new[] { 0 })] // page 0 in both: its sinks stay exact
    [InlineData(0, 128, new[] { 1 }, new[] { 0 })]
    [InlineData(16, 300, new[] { 0, 3, 4 }, new[] { 0, 1, 2 })]
    [InlineData(0, 300, new[] { 3, 4 }, new[] { 0, 1, 2 })]
    public void Pages_a_prefill_writes(int sinks, int length, int[] hot, int[] latent)
    {
        var spec = Spec("dense_below=0", $"sink_tokens={sinks}");
        Assert.Equal(hot, Enumerable.Range(0, 10).Where(p => CacheTimeline.NeedsHot(p, length, spec)));
        Assert.Equal(latent, Enumerable.Range(0, 10).Where(p => CacheTimeline.NeedsLatent(p, length, spec)));
        Assert.Equal(hot.Length, CacheTimeline.PageCount(PoolKind.Hot, length, spec));
        Assert.Equal(latent.Length, CacheTimeline.PageCount(PoolKind.Latent, length, spec));
        Assert.Equal((length + 63) / 64, CacheTimeline.PageCount(PoolKind.Dense, length, spec));
    }

    [Theory]
    [InlineData(0, 64, 0)]
    [InlineData(0, 127, 0)]
    [InlineData(0, 128, 1)]
    [InlineData(2048, 128, 1)] // stays exact: all but the page of the last token
    [InlineData(2048, 129, 2)]
    [InlineData(2048, 2048, 31)]
    [InlineData(2048, 2049, 31)]
    public void Reusable_pages(int denseBelow, int prompt, int expected) =>
        Assert.Equal(expected, CacheTimeline.ReusablePages(prompt, Spec($"dense_below={denseBelow}")));

    [Fact]
    public void Dense_has_neither_hot_nor_latent_pages()
    {
        var spec = LatentSpec.Dense(8);
        Assert.Equal((0, 0, 79), (CacheTimeline.PageCount(PoolKind.Hot, 5000, spec), CacheTimeline.PageCount(PoolKind.Latent, 5000, spec), CacheTimeline.PageCount(PoolKind.Dense, 5000, spec)));
        Assert.Equal(78, CacheTimeline.ReusablePages(5000, spec));
        Assert.False(CacheTimeline.NeedsHot(0, 5000, spec));
    }
}
