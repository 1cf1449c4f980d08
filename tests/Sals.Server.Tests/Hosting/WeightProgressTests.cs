using Sals.Server.Hosting;
using Xunit;

namespace Sals.Server.Tests.Hosting;

public class WeightProgressTests
{
    private const long Gib = 1L << 30;

    [Fact]
    public void Without_a_terminal_there_is_a_line_now_and_then_and_one_at_the_end()
    {
        var (clock, lines) = (new Clock(), new List<string>());
        var progress = new WeightProgress(null, lines.Add, clock);
        for (var second = 0; second <= 12; second++)
        {
            progress.Report((second + 1) * Gib, 13 * Gib);
            clock.Seconds++;
        }

        Assert.Equal(["Weights: 6.00 GiB of 13.00 GiB, 46%, 1.3 GB/s", "Weights: 11.00 GiB of 13.00 GiB, 85%, 1.2 GB/s", "Weights: 13.00 GiB of 13.00 GiB, 100%, 1.2 GB/s"], lines);
    }

    [Fact]
    public void On_a_terminal_one_line_is_redrawn_and_ended()
    {
        var (clock, screen) = (new Clock(), new StringWriter());
        var progress = new WeightProgress(screen, _ => Assert.Fail("a line beside the bar"), clock);
        progress.Report(Gib, 4 * Gib);
        clock.Seconds++;
        progress.Report(2 * Gib, 4 * Gib);
        progress.Report(3 * Gib, 4 * Gib);
        progress.Report(4 * Gib, 4 * Gib);
        var drawn = screen.ToString().Split('\r', StringSplitOptions.RemoveEmptyEntries);
        Assert.Equal(2, drawn.Length);
        Assert.StartsWith("Weights [###############...............] 2.00 GiB of 4.00 GiB, 50%", drawn[0], StringComparison.Ordinal);
        Assert.StartsWith("Weights [##############################] 4.00 GiB", drawn[1], StringComparison.Ordinal);
        Assert.EndsWith(Environment.NewLine, drawn[1], StringComparison.Ordinal);
    }

    private sealed class Clock : TimeProvider
    {
        public long Seconds { get; set; } = 1;

        public override long TimestampFrequency => 1;

        public override long GetTimestamp() => Seconds;
    }
}
