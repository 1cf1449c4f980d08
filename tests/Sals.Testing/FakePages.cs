using Sals.Engine.Paging;
using static Sals.Testing.PlanRule;

namespace Sals.Testing;

/// <summary>What the pages of a <see cref="FakeBackend"/> hold: token ids, -1 where nothing was written.</summary>
/// <param name="bytes">Of the cache; pages beyond do not exist.</param>
internal sealed class FakePages(long bytes)
{
    private readonly Dictionary<int, int[]> _pages = [];

    /// <summary>[P]</summary>
    public int[] this[int id]
    {
        get
        {
            Require(id > 0 && (long)id * PageLayout.Unit < bytes, $"page {id} is outside the cache");
            if (!_pages.TryGetValue(id, out var page))
            {
                _pages[id] = page = new int[PageLayout.PageSize];
                Array.Fill(page, -1);
            }

            return page;
        }
    }
}
