using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace Sals.Server.Telemetry;

/// <summary>
/// OpenTelemetry's metrics of a model server, <c>gen_ai.server.*</c> (semantic conventions for generative AI, in development): names, units,
/// attributes and buckets are theirs. Nobody listens, nothing is stored, unless an OTLP endpoint is configured.
/// </summary>
public static class GenAiMeter
{
    public const string Name = "Sals.Server";

    private static readonly Meter Meter = new(Name);

    private static readonly Histogram<double> Duration = Histogram("gen_ai.server.request.duration", "Time of a request.",
        [.01, .02, .04, .08, .16, .32, .64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]);

    private static readonly Histogram<double> FirstToken = Histogram("gen_ai.server.time_to_first_token", "From arrival to the first token.",
        [.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10]);

    private static readonly Histogram<double> PerToken = Histogram("gen_ai.server.time_per_output_token", "Mean time of a token after the first.",
        [.01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5]);

    public static void RequestEnded(TimeSpan duration, in TagList tags) => Duration.Record(duration.TotalSeconds, tags);

    public static void FirstTokenAfter(TimeSpan time, in TagList tags) => FirstToken.Record(time.TotalSeconds, tags);

    public static void TokenEach(TimeSpan time, in TagList tags) => PerToken.Record(time.TotalSeconds, tags);

    private static Histogram<double> Histogram(string name, string help, double[] bounds) =>
        Meter.CreateHistogram(name, "s", help, advice: new InstrumentAdvice<double> { HistogramBucketBoundaries = bounds });
}
