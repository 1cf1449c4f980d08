using Sals.Engine.Latent;
using Sals.Engine.Paging;

namespace Sals.Engine.Backends.Cuda;

/// <summary>
/// Which rows a decode step has, for its compressed layers: the launches that none of them needs are left out. What takes a row, and so its result, depends
/// on its own length alone.
/// </summary>
internal enum RowKinds
{
    /// <summary>No row has a latent page: compressed layers are launched as dense ones. The only kind of a cache that is not compressed.</summary>
    Exact,

    /// <summary>Every row has; padding rows, which have none, are not attended.</summary>
    Compressed,

    Mixed,
}

/// <summary>Of lengths.</summary>
internal static class RowKindsOf
{
    /// <summary>A row of <paramref name="length"/> tokens, its own included.</summary>
    public static RowKinds Row(int length, LatentSpec spec) => CacheTimeline.LatentPages(length, spec) > 0 ? RowKinds.Compressed : RowKinds.Exact;

    /// <summary>Rows of <paramref name="first"/> to <paramref name="last"/> tokens.</summary>
    public static RowKinds Rows(int first, int last, LatentSpec spec) => Row(first, spec).And(Row(last, spec));

    public static RowKinds And(this RowKinds one, RowKinds other) => one == other ? one : RowKinds.Mixed;
}
