using Xunit;

namespace Sals.Testing;

/// <summary>
/// Compares computed with expected values: non-finite values must coincide exactly (NaN never passes); then every value within an
/// absolute or a relative bound. A failure names the worst position, both values and the share that passed.
/// </summary>
public static class Close
{
    public static void To(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual, double absolute, double relative = 0, string? what = null)
    {
        Assert.True(expected.Length == actual.Length, $"{what}: {actual.Length} values, expected {expected.Length}");
        var passed = 0;
        var worst = -1;
        double worstExcess = 0;
        for (var i = 0; i < expected.Length; i++)
        {
            double e = expected[i];
            double a = actual[i];
            double excess;
            if (double.IsFinite(e) && double.IsFinite(a))
            {
                excess = Math.Abs(e - a) - Math.Max(absolute, relative * Math.Abs(e));
            }
            else
            {
                excess = e == a ? 0 : double.MaxValue;
            }

            if (excess <= 0)
            {
                passed++;
            }
            else if (worst < 0 || excess > worstExcess)
            {
                (worst, worstExcess) = (i, excess);
            }
        }

        Assert.True(
            worst < 0, worst < 0 ? "" : $"{what}: at {worst} expected {expected[worst]:R}, found {actual[worst]:R}; {passed} of {expected.Length} values within {absolute} or {relative} relative");
    }

    /// <summary>Bit for bit, so that NaN payloads and signs of zero count too.</summary>
    public static void Exactly(ReadOnlySpan<float> expected, ReadOnlySpan<float> actual, string? what = null)
    {
        Assert.True(expected.Length == actual.Length, $"{what}: {actual.Length} values, expected {expected.Length}");
        for (var i = 0; i < expected.Length; i++)
        {
            Assert.True(
                BitConverter.SingleToInt32Bits(expected[i]) == BitConverter.SingleToInt32Bits(actual[i]),
                $"{what}: at {i} of {expected.Length} expected {expected[i]:R}, found {actual[i]:R}");
        }
    }
}
