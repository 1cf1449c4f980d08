namespace Sals.Server.Telemetry;

/// <summary>Histogram bounds, the same as vLLM's so that its dashboards and alerts fit.</summary>
public static class MetricBuckets
{
    public static readonly double[] TimeToFirstToken =
        [.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80, 160, 640, 2560];

    public static readonly double[] InterToken =
        [.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5, 5, 7.5, 10, 20, 40, 80];

    public static readonly double[] RequestTime =
        [.3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680];

    public static readonly double[] Choices = [1, 2, 5, 10, 20];

    /// <summary>1, 2, 5, 10, 20, 50 ... up to <paramref name="max"/>.</summary>
    public static double[] OneTwoFive(int max)
    {
        var bounds = new List<double>();
        for (var power = 1L; power <= max; power *= 10)
        {
            bounds.AddRange(new[] { power, 2 * power, 5 * power }.Where(bound => bound <= max).Select(bound => (double)bound));
        }

        return [.. bounds];
    }
}
