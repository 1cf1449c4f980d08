using Sals.Engine.Latent;

namespace Sals.Engine.Paging;

/// <summary>
/// Which pages of a sequence are hot and which latent when its cache holds <c>length</c> tokens. Pure functions of (length, spec): never of
/// load, batch or timing, so that a request's text does not depend on its neighbours. The scheduler plans by them and both backends read by them.
/// </summary>
/// <remarks>
/// For a decode row, <c>length</c> counts the row's own token, whose key and value are stored by that same row. A plan whose decode row is the
/// first with a length for which <see cref="LatentPages"/> grows also carries the flushes of the new latent pages, and a backend flushes before decode
/// rows: at that moment length - 1 tokens are stored, and a latent page ends at length - recent_tokens at the latest, with recent_tokens &gt;= 1. So a
/// flushed page is always complete. For a prefill, <c>length</c> is the prompt's; it leaves the cache as the flushes would have.
/// <code>
/// tokens   0 .. sink | sink .. 64 * LatentPages     | 64 * LatentPages .. length
///          sinks     | candidates                   | window: recent .. recent + 63 tokens
/// read     hot page 0| latent pages, the selected   | hot pages, all
/// </code>
/// </remarks>
public static class CacheTimeline
{
    private const int P = PageLayout.PageSize;

    /// <summary>Leading pages that are latent: none up to dense_below, then every page that lies wholly before the last recent_tokens tokens.</summary>
    public static int LatentPages(int length, LatentSpec spec) =>
        spec.IsDense || length <= spec.DenseBelow ? 0 : Math.Max(0, length - spec.RecentTokens) / P;

    /// <summary>First token of the exact window; 0 when the whole sequence is exact.</summary>
    public static int WindowStart(int length, LatentSpec spec) => P * LatentPages(length, spec);

    /// <summary>Tokens read exactly from hot page 0 ahead of the latent ones; 0 when the window starts at 0 and so covers them.</summary>
    public static int SinkCount(int length, LatentSpec spec) => Math.Min(spec.SinkTokens, WindowStart(length, spec));

    /// <summary>Latent tokens that may be selected: [SinkCount, WindowStart).</summary>
    public static int CandidateCount(int length, LatentSpec spec) => WindowStart(length, spec) - SinkCount(length, spec);

    /// <summary>Latent tokens that are selected in each compressed layer; with critical_mass, most of them. Equal to <see cref="CandidateCount"/> when nothing needs scoring.</summary>
    public static int SelectedCount(int length, LatentSpec spec) => Math.Min(CandidateCount(length, spec), spec.CriticalCount(length));

    /// <summary>Whether page <paramref name="page"/> must have a latent copy.</summary>
    public static bool NeedsLatent(int page, int length, LatentSpec spec) => page < LatentPages(length, spec);

    /// <summary>Whether page <paramref name="page"/> must have a hot copy: all that are not latent, and page 0 while it holds sinks.</summary>
    public static bool NeedsHot(int page, int length, LatentSpec spec) =>
        !spec.IsDense && page < PagesOf(length) && (page >= LatentPages(length, spec) || (page == 0 && spec.SinkTokens > 0));

    /// <summary>Pages that hold <paramref name="length"/> tokens: its ceiling in pages.</summary>
    public static int PagesOf(int length) => (length + P - 1) / P;

    /// <summary>Pages of <paramref name="pool"/> a sequence of this length occupies, once the flushes due at this length are done.</summary>
    public static int PageCount(PoolKind pool, int length, LatentSpec spec)
    {
        var latent = LatentPages(length, spec);
        return pool switch
        {
            PoolKind.Dense => spec.DenseLayers.Length > 0 ? PagesOf(length) : 0,
            PoolKind.Latent => latent,
            _ => spec.IsDense ? 0 : PagesOf(length) - latent + (latent > 0 && spec.SinkTokens > 0 ? 1 : 0),
        };
    }

    /// <summary>
    /// Pages of <paramref name="pool"/> a sequence of this length holds when it may grow to <paramref name="maxLength"/>: those in use, and a reserved latent page
    /// beside each page that is still exact but may ever be flushed.
    /// </summary>
    public static int HeldPages(PoolKind pool, int length, int maxLength, LatentSpec spec) =>
        pool == PoolKind.Latent && LatentPages(maxLength, spec) > 0 ? PagesOf(length) : PageCount(pool, length, spec);

    /// <summary>
    /// Leading pages of a prompt that may come from the prefix index. Of a prompt that will be compressed the latent pages, so that its window is always
    /// computed exactly; of a shorter one every page that leaves at least one token to compute. A page can be taken when the index holds the copies
    /// that <see cref="NeedsHot"/> and <see cref="NeedsLatent"/> ask for at the prompt's length.
    /// </summary>
    public static int ReusablePages(int promptLength, LatentSpec spec)
    {
        var latent = LatentPages(promptLength, spec);
        return spec.IsDense || promptLength <= spec.DenseBelow ? Math.Max(0, promptLength - 1) / P : latent;
    }
}
