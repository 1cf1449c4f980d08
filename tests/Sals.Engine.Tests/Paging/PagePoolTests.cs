using Sals.Engine.Paging;
using Xunit;

namespace Sals.Engine.Tests.Paging;

public class PagePoolTests
{
    private const long Slab = 64 * 1024;

    [Fact]
    public void Page_zero_is_never_given_out()
    {
        var arena = new PageArena(4 * Slab, Slab, reservedBytes: 12288);
        var pool = new PagePool(PoolKind.Dense, 8192, arena);
        var pages = new List<int>();
        for (int page; (page = pool.Allocate()) != 0;)
        {
            pages.Add(page);
        }

        // 8 pages a slab; the first two of slab 0 lie in page 0's 12 KiB
        Assert.Equal(30, pages.Count);
        Assert.Equal(pages.Count, pages.Distinct().Count());
        Assert.All(pages, page => Assert.True(page * (long)PageLayout.Unit >= 12288));
        pool.CheckIntegrity();
    }

    [Fact]
    public void A_page_never_straddles_two_slabs()
    {
        var arena = new PageArena(4 * Slab, Slab, 4096);
        var pool = new PagePool(PoolKind.Hot, 12288, arena);
        for (int page; (page = pool.Allocate()) != 0;)
        {
            var offset = page * (long)PageLayout.Unit;
            Assert.Equal(offset / Slab, (offset + 12288 - 1) / Slab);
        }
    }

    [Fact]
    public void An_empty_slab_goes_back_to_the_other_pools()
    {
        var arena = new PageArena(2 * Slab, Slab, 4096);
        var hot = new PagePool(PoolKind.Hot, 8192, arena);
        var latent = new PagePool(PoolKind.Latent, 4096, arena);
        var pages = Enumerable.Range(0, 12).Select(_ => hot.Allocate()).ToArray();
        Assert.Equal(0, arena.FreeSlabs);
        Assert.Equal(0, latent.Allocate());
        Array.ForEach(pages, hot.Release);
        Assert.Equal(2, arena.FreeSlabs);
        Assert.NotEqual(0, latent.Allocate());
        hot.CheckIntegrity();
        latent.CheckIntegrity();
    }

    [Fact]
    public void Misuse_is_caught()
    {
        var pool = new PagePool(PoolKind.Dense, 8192, new PageArena(2 * Slab, Slab, 8192));
        var page = pool.Allocate();
        pool.AddReference(page);
        pool.Release(page);
        pool.Release(page);
        Assert.Throws<InvalidOperationException>(() => pool.Release(page));
        Assert.Throws<InvalidOperationException>(() => pool.AddReference(page));
        Assert.Throws<InvalidOperationException>(() => pool.Release(1));
        Assert.Throws<InvalidOperationException>(() => pool.Release(0));
    }

    [Fact]
    public void A_slab_too_small_beside_page_zero_is_left_to_smaller_pages()
    {
        var arena = new PageArena(2 * Slab, Slab, reservedBytes: 49152);
        var large = new PagePool(PoolKind.Dense, 49152, arena);
        Assert.NotEqual(0, large.Allocate());
        Assert.Equal(0, large.Allocate());
        Assert.NotEqual(0, new PagePool(PoolKind.Latent, 8192, arena).Allocate());
    }
}
