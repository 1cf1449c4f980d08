using Sals.Server.Admission;
using Xunit;

namespace Sals.Server.Tests.Admission;

public class GateTests
{
    [Fact]
    public void Counts_sequences_and_gives_places_back_once()
    {
        var gate = new AdmissionGate(slots: 2, queue: 3, TimeProvider.System);
        using var four = gate.TryEnter(4, out _);
        Assert.NotNull(four);
        Assert.Null(gate.TryEnter(2, out var retryAfter));
        Assert.InRange(retryAfter, 1, 60);
        var one = gate.TryEnter(1, out _)!;
        Assert.Equal(5, gate.Live);
        one.Dispose();
        one.Dispose();
        Assert.Equal(4, gate.Live);
    }

    [Fact]
    public void Retry_after_follows_how_long_sequences_take()
    {
        var clock = new ManualClock();
        var gate = new AdmissionGate(slots: 1, queue: 0, clock);
        for (var i = 0; i < 100; i++)
        {
            using var permit = gate.TryEnter(1, out _);
            clock.Advance(TimeSpan.FromSeconds(20));
        }

        using var last = gate.TryEnter(1, out _);
        Assert.Null(gate.TryEnter(1, out var retryAfter));
        Assert.InRange(retryAfter, 19, 21);
    }

    [Fact]
    public async Task Many_threads_never_exceed_the_capacity()
    {
        var gate = new AdmissionGate(slots: 4, queue: 4, TimeProvider.System);
        var live = 0;
        await Task.WhenAll(Enumerable.Range(0, 8).Select(_ => Task.Run(() =>
        {
            for (var i = 0; i < 2000; i++)
            {
                using var permit = gate.TryEnter(1 + (i % 3), out var ignored);
                if (permit is not null)
                {
                    Assert.InRange(Interlocked.Add(ref live, 1 + (i % 3)), 1, 8);
                    Interlocked.Add(ref live, -1 - (i % 3));
                }
            }
        })));
        Assert.Equal(0, gate.Live);
    }

    private sealed class ManualClock : TimeProvider
    {
        private long _now;

        public override long TimestampFrequency => TimeSpan.TicksPerSecond;

        public void Advance(TimeSpan time) => _now += time.Ticks;

        public override long GetTimestamp() => _now;
    }
}
