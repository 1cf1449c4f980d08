using Sals.Engine.Backends.Cpu;
using Xunit;

namespace Sals.Engine.Tests.Backends;

public class WorkerTeamTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(7)]
    public void Every_chunk_runs_once(int threads)
    {
        using var team = new WorkerTeam(threads);
        var random = new Random(1);
        for (var round = 0; round < 20_000; round++)
        {
            var seen = new int[random.Next(40)];
            team.Run(seen.Length, (chunk, worker) =>
            {
                Assert.InRange(worker, 0, threads - 1);
                Interlocked.Increment(ref seen[chunk]);
            });
            Assert.All(seen, count => Assert.Equal(1, count));
        }
    }

    [Fact]
    public void A_sleeping_team_wakes()
    {
        using var team = new WorkerTeam(3);
        for (var round = 0; round < 5; round++)
        {
            Thread.Sleep(20);
            var sum = 0;
            team.Run(100, (chunk, _) => Interlocked.Add(ref sum, chunk));
            Assert.Equal(4950, sum);
        }
    }

    [Fact]
    public void A_failure_is_rethrown_and_the_team_goes_on()
    {
        using var team = new WorkerTeam(2);
        var e = Assert.Throws<InvalidOperationException>(() => team.Run(10, (chunk, _) => throw new FormatException($"chunk {chunk}")));
        Assert.IsType<FormatException>(e.InnerException);
        var sum = 0;
        team.Run(10, (chunk, _) => Interlocked.Add(ref sum, chunk));
        Assert.Equal(45, sum);
    }
}
