using Sals.Engine.Evaluation;
using Xunit;

namespace Sals.Engine.Tests.Evaluation;

public class CpuCeilingsTests
{
    [Fact]
    public void Both_ceilings_are_measured_and_not_absurd()
    {
        var ceilings = CpuCeilings.Measure(1);
        Assert.InRange(ceilings.ReadBytesPerSecond, 1e6, 1e13);
        Assert.InRange(ceilings.FlopsPerSecond, 1e6, 1e13);
    }
}
