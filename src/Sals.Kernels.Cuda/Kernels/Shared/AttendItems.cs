namespace Sals.Kernels.Cuda.Kernels.Shared;

/// <summary>
/// Items of a row's attention in a compressed layer, as <c>attend_items.cuh</c> counts them on the device: runs of 2 exact pages (sinks and window), then
/// tiles of 64 selected tokens. A row that has no latent page has none: dense_attend takes it, by <see cref="DenseRuns"/>.
/// </summary>
public static class AttendItems
{
    /// <summary>Tokens of a page.</summary>
    private const int Page = 64;

    /// <summary>Tokens of a run of exact pages.</summary>
    public const int Run = 2 * Page;

    /// <summary>Selected tokens of a tile.</summary>
    public const int Tile = 64;

    /// <summary>Items of a row of <paramref name="length"/> tokens, its own included.</summary>
    public static int Of(LatentShape shape, int length)
    {
        var latentPages = length <= shape.DenseBelow ? 0 : Math.Max(0, length - shape.RecentTokens) / Page;
        if (latentPages == 0)
        {
            return 0;
        }

        var sinks = Math.Min(shape.SinkTokens, latentPages * Page);
        var selected = Math.Min((latentPages * Page) - sinks, Math.Clamp(length / shape.Sparsity, shape.CriticalMin, shape.CriticalMax));
        var exactPages = (sinks > 0 ? 1 : 0) + Ceiling(length, Page) - latentPages;
        return Ceiling(exactPages * Page, Run) + Ceiling(selected, Tile);
    }

    /// <summary>Most items of a row of up to <paramref name="longest"/> tokens: what a work list holds for each slot. Not simply those of the longest.</summary>
    public static int Most(LatentShape shape, int longest)
    {
        var most = 0;
        for (var length = 1; length <= longest; length++)
        {
            most = Math.Max(most, Of(shape, length));
        }

        return most;
    }

    private static int Ceiling(int count, int size) => (count + size - 1) / size;
}
