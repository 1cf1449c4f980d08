namespace Sals.Server.Load;

/// <summary>When requests arrive: a schedule made before the run, which no answer can delay.</summary>
public static class Arrivals
{
    /// <param name="rate">Requests a second; infinite = all at 0.</param>
    /// <param name="burstiness">Shape of the gamma distribution of the gaps, whose mean is 1 / rate.</param>
    /// <returns>[count] seconds from the start, the first 0, never falling.</returns>
    public static double[] Schedule(int count, double rate, double burstiness, Random random)
    {
        var times = new double[count];
        for (var i = 1; i < count && double.IsFinite(rate); i++)
        {
            times[i] = times[i - 1] + (Gamma(burstiness, random) / (rate * burstiness));
        }

        return times;
    }

    /// <summary>A gamma variate of scale 1. Marsaglia and Tsang, A simple method for generating gamma variables, 2000.</summary>
    private static double Gamma(double shape, Random random)
    {
        // below 1 the method does not hold; a variate of shape + 1 times U^(1/shape) has the distribution
        var boost = shape < 1 ? Math.Pow(1 - random.NextDouble(), 1 / shape) : 1;
        var d = (shape < 1 ? shape + 1 : shape) - (1.0 / 3);
        var c = 1 / Math.Sqrt(9 * d);
        while (true)
        {
            var x = Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
            var v = Math.Pow(1 + (c * x), 3);
            if (v > 0 && Math.Log(1 - random.NextDouble()) < (0.5 * x * x) + d - (d * v) + (d * Math.Log(v)))
            {
                return boost * d * v;
            }
        }
    }
}
