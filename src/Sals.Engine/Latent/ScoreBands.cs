using System.Numerics;
using System.Numerics.Tensors;
using Sals.Engine.Models;
using Sals.Engine.Paging;

namespace Sals.Engine.Latent;

/// <summary>
/// Scoring with rope, although latents have none: a row's latent pages fall into bands by their distance, and each band has a scoring query of its own, the row's
/// query turned by the mean rotation of the band's distances. Slow pairs then score as the model sees them; fast ones, whose angle a band does not tell, average out. What
/// the mean key scores in a band, the model's preference for near or far tokens, is added to every score of it. Four bands each of 1, 2, 4, .. pages, from the newest latent page back.
/// </summary>
internal sealed class ScoreBands
{
    private const int PerWidth = 4;

    private readonly RopeTable _rope;
    private readonly Complex[][] _means;

    /// <param name="pages">Latent pages of the longest sequence.</param>
    public ScoreBands(RopeTable rope, int pages)
    {
        _rope = rope;
        Most = Count(pages);
        _means = [.. Enumerable.Range(0, Levels(Most)).Select(level => Means(rope, PageLayout.PageSize << level))];
    }

    /// <summary>Bands of the longest sequence.</summary>
    public int Most { get; }

    /// <summary>[levels, DH / 2, 2], real and imaginary part of the mean of exp(-i f t) over the tokens of a band of 1, 2, 4, .. pages.</summary>
    public float[] MeanRotations => [.. _means.SelectMany(level => level).SelectMany(turn => new[] { (float)turn.Real, (float)turn.Imaginary })];

    /// <summary>Bands of a row with this many latent pages.</summary>
    public static int Count(int pages) => pages == 0 ? 0 : Of(pages - 1) + 1;

    /// <summary>Different widths of this many bands.</summary>
    public static int Levels(int bands) => (bands + PerWidth - 1) / PerWidth;

    /// <summary>Band of the page with <paramref name="newer"/> latent pages behind it.</summary>
    public static int Of(int newer)
    {
        var level = BitOperations.Log2((uint)(newer / PerWidth) + 1);
        return (PerWidth * level) + ((newer - (PerWidth * ((1 << level) - 1))) >> level);
    }

    /// <summary>Latent pages of a band, of a row with this many; the oldest band may be cut short.</summary>
    public static int PagesOf(int band, int pages)
    {
        var (level, index) = Math.DivRem(band, PerWidth);
        return Math.Min(1 << level, pages - (PerWidth * ((1 << level) - 1)) - (index << level));
    }

    /// <summary>Scoring query of one band and what the mean key scores in it.</summary>
    /// <param name="pages">Latent pages of the row.</param>
    /// <param name="position">Of the row.</param>
    /// <param name="summed">[D], query heads summed per KV head, before rope.</param>
    /// <param name="turned">[D], working memory.</param>
    /// <param name="query">[RS]</param>
    public float Query(int band, int pages, int position, ReadOnlySpan<float> summed, LatentBasisLayer basis, Span<float> turned, Span<float> query)
    {
        var (level, index) = Math.DivRem(band, PerWidth);
        var oldest = pages - (PerWidth * ((1 << level) - 1)) - ((index + 1) << level);
        var distance = position - (Math.Max(0, oldest) * PageLayout.PageSize);
        int half = _rope.HeadSize / 2, size = _rope.HeadSize;
        for (var i = 0; i < half; i++)
        {
            // the factor that the other of query and key would carry
            var turn = _rope.AttentionFactor * new Complex(_rope.Cos(distance)[i], _rope.Sin(distance)[i]) * _means[level][i];
            var (cos, sin) = ((float)turn.Real, (float)turn.Imaginary);
            for (var head = 0; head < summed.Length; head += size)
            {
                float a = summed[head + i], b = summed[head + half + i];
                turned[head + i] = (a * cos) - (b * sin);
                turned[head + half + i] = (b * cos) + (a * sin);
            }
        }

        ScoringQuery.Project(turned, basis, query);
        return TensorPrimitives.Dot(turned, basis.Mean);
    }

    // [DH / 2], mean of exp(-i f t) over t = 0 .. tokens - 1
    private static Complex[] Means(RopeTable rope, int tokens) =>
        [.. rope.InverseFrequencies.Select(f => Ratio(f, tokens) * Complex.FromPolarCoordinates(1, -f * (tokens - 1) / 2))];

    private static double Ratio(double f, int tokens) => f == 0 ? 1 : Math.Sin(f * tokens / 2) / (tokens * Math.Sin(f / 2));
}
