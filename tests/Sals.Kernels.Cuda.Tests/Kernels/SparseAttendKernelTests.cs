using Sals.Kernels.Cuda.Kernels.SparseAttend;
using Sals.Testing;
using Xunit;

namespace Sals.Kernels.Cuda.Tests.Kernels;

public class SparseAttendKernelTests
{
    // beside the dynamic shared memory: Common and the gap up to a multiple of 1,024
    private const int Static = 2048;

    [Theory]
    [InlineData(80, 163)]
    [InlineData(86, 99)]
    [InlineData(89, 99)]
    [InlineData(90, 227)]
    public void Blocks_of_any_shape_stay_within_the_shared_memory_that_a_block_may_have(int computeCapability, int kilobytes)
    {
        foreach (var headSize in new[] { 64, 128 })
        {
            foreach (var (queryHeads, keyHeads) in new[] { (32, 8), (32, 32), (40, 8), (8, 1) })
            {
                for (var rank = 32; rank <= Math.Min(1024, keyHeads * headSize); rank *= 2)
                {
                    foreach (var (int8, groups) in new[] { (false, 2), (true, 2), (true, 3), (true, 4) })
                    {
                        var shape = SampleShape.Latent with { HeadSize = headSize, QueryHeads = queryHeads, KeyHeads = keyHeads, Rank = rank, ScoreRank = rank / 2, Int8 = int8 };
                        var (found, bytes) = SparseAttendKernel.SharedOf(shape, computeCapability, groups);
                        Assert.InRange(found, 1, groups);
                        Assert.True(bytes + Static <= kilobytes * 1024, $"{headSize}, {queryHeads}/{keyHeads}, rank {rank}, int8 {int8}: {bytes} bytes of {found} warpgroups");
                    }
                }
            }
        }
    }

    [Fact]
    public void Preset_of_a_quarter_has_three_warpgroups_on_compute_capability_9() => Assert.Equal(3, SparseAttendKernel.SharedOf(SampleShape.Latent, 90, 3).Groups);
}
