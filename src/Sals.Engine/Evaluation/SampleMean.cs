namespace Sals.Engine.Evaluation;

/// <summary>A mean over independent samples and its standard error.</summary>
/// <param name="StandardError">s / sqrt(n) with s the sample deviation (n - 1); not a number for a single sample.</param>
public readonly record struct SampleMean(double Mean, double StandardError, int Count)
{
    /// <param name="values">At least one.</param>
    public static SampleMean Of(IReadOnlyList<double> values)
    {
        ArgumentOutOfRangeException.ThrowIfZero(values.Count, nameof(values));
        var mean = values.Average();
        var squares = values.Sum(value => (value - mean) * (value - mean));
        return new SampleMean(mean, values.Count == 1 ? double.NaN : Math.Sqrt(squares / (values.Count - 1) / values.Count), values.Count);
    }
}
