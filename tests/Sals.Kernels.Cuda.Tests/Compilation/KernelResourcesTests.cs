using Sals.Kernels.Cuda.Compilation;
using Xunit;

namespace Sals.Kernels.Cuda.Tests.Compilation;

public class KernelResourcesTests
{
    [Fact]
    public void Spills_and_stack_are_read_per_entry()
    {
        const string log = """
            ptxas info    : 0 bytes gmem
            ptxas info    : Compiling entry function 'b' for 'sm_90'
            ptxas info    : Function properties for b
                48 bytes stack frame, 40 bytes spill stores, 44 bytes spill loads
            ptxas info    : Used 128 registers, 48 bytes cumulative stack size, 2080 bytes smem, 400 bytes cmem[0]
            ptxas info    : Compiling entry function 'a' for 'sm_90'
            ptxas info    : Function properties for a
                0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
            ptxas info    : Used 32 registers, 400 bytes cmem[0]
            """;
        Assert.Equal([new KernelResources("b", 128, 48, 84, 2080), new KernelResources("a", 32, 0, 0, 0)], KernelResources.Parse(log));
    }
}
