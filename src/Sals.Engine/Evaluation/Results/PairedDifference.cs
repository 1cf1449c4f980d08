namespace Sals.Engine.Evaluation.Results;

/// <summary>Mean difference of scores on the same prompts and its 95% interval.</summary>
/// <param name="Mean">In the scores' unit.</param>
/// <param name="StandardError">Of the mean; for 0-or-1 scores by Bonett and Price, so that no discordant pair does not mean no error.</param>
public readonly record struct PairedDifference(double Mean, double StandardError, double Low, double High)
{
    private const double Z = 1.959963984540054;

    /// <param name="scores">At least one.</param>
    /// <param name="others">Of the same prompts, in the same order.</param>
    /// <param name="binary">Scores are 0 or 1: Bonett and Price's adjusted Wald interval (2012), else the normal one.</param>
    public static PairedDifference Of(IReadOnlyList<double> scores, IReadOnlyList<double> others, bool binary)
    {
        ArgumentOutOfRangeException.ThrowIfZero(scores.Count, nameof(scores));
        ArgumentOutOfRangeException.ThrowIfNotEqual(others.Count, scores.Count, nameof(others));
        double[] differences = [.. scores.Zip(others, (one, other) => one - other)];
        var mean = differences.Average();
        if (!binary)
        {
            // a single pair says nothing about its spread
            var error = differences.Length > 1 ? SampleMean.Of(differences).StandardError : 1;
            return new PairedDifference(mean, error, Math.Max(-1, mean - (Z * error)), Math.Min(1, mean + (Z * error)));
        }

        double won = (differences.Count(difference => difference > 0) + 1.0) / (differences.Length + 2);
        double lost = (differences.Count(difference => difference < 0) + 1.0) / (differences.Length + 2);
        var spread = Math.Sqrt((won + lost - ((won - lost) * (won - lost))) / (differences.Length + 2));
        return new PairedDifference(mean, spread, Math.Max(-1, won - lost - (Z * spread)), Math.Min(1, won - lost + (Z * spread)));
    }

    /// <summary>Mean of independent differences, one a task.</summary>
    public static PairedDifference Average(IReadOnlyList<PairedDifference> parts)
    {
        var mean = parts.Average(part => part.Mean);
        var error = Math.Sqrt(parts.Sum(part => part.StandardError * part.StandardError)) / parts.Count;
        return new PairedDifference(mean, error, mean - (Z * error), mean + (Z * error));
    }
}
