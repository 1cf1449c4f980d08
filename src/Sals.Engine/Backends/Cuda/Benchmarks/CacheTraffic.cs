using Sals.Engine.Paging;

namespace Sals.Engine.Backends.Cuda.Benchmarks;

/// <summary>What a decode row must read of its cache and compute on it: the arithmetic of floors.</summary>
internal static class CacheTraffic
{
    /// <summary>Bytes that one row of <paramref name="length"/> tokens reads, all layers.</summary>
    public static long BytesRead(PageLayout layout, int length) =>
        ((long)length * layout.Spec.DenseLayers.Length * layout.DenseLayerBytes / PageLayout.PageSize) + (layout.Spec.SparseLayers.Length * (Scored(layout, length) + Attended(layout, length)));

    /// <summary>Bytes of the score plane that one row scans in one compressed layer.</summary>
    public static long Scored(PageLayout layout, int length)
    {
        var candidates = CacheTimeline.CandidateCount(length, layout.Spec);
        return candidates > CacheTimeline.SelectedCount(length, layout.Spec) ? (long)candidates * layout.ScorePlaneBytes / PageLayout.PageSize : 0;
    }

    /// <summary>Bytes of selected latent tokens, sinks and window that one row reads in one compressed layer.</summary>
    public static long Attended(PageLayout layout, int length)
    {
        var spec = layout.Spec;
        var exact = length - CacheTimeline.WindowStart(length, spec) + CacheTimeline.SinkCount(length, spec);
        return ((long)CacheTimeline.SelectedCount(length, spec) * layout.LatentLayerBytes / PageLayout.PageSize) + ((long)exact * 2 * layout.ExactPlaneBytes / PageLayout.PageSize);
    }

    /// <summary>Operations of rebuilding one row's selected keys in one compressed layer; a multiply-add is two.</summary>
    public static double Reconstruction(PageLayout layout, int length) =>
        layout.Spec.IsDense ? 0 : 2.0 * CacheTimeline.SelectedCount(length, layout.Spec) * layout.Spec.GroupRank * layout.KeyWidth;
}
