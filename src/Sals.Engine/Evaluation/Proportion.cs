namespace Sals.Engine.Evaluation;

/// <summary>A share of trials that succeeded, with its uncertainty.</summary>
/// <param name="Hits">0 .. <paramref name="Count"/>.</param>
/// <param name="Count">Trials, at least 1.</param>
public readonly record struct Proportion(int Hits, int Count)
{
    /// <summary>The normal distribution's two-sided 95% point.</summary>
    private const double Z = 1.959963984540054;

    public double Share => (double)Hits / Count;

    /// <summary>Binomial: sqrt(p (1 - p) / n). 0 at 0 and at 1, where the interval says more.</summary>
    public double StandardError => Math.Sqrt(Share * (1 - Share) / Count);

    /// <summary>Wilson's score interval at 95%, without continuity correction (Wilson 1927).</summary>
    public (double Low, double High) Interval
    {
        get
        {
            var z2 = Z * Z / Count;
            var middle = (Share + (z2 / 2)) / (1 + z2);
            var half = Z / (1 + z2) * Math.Sqrt((Share * (1 - Share) / Count) + (z2 / (4 * Count)));
            return (Hits == 0 ? 0 : middle - half, Hits == Count ? 1 : middle + half);
        }
    }
}
