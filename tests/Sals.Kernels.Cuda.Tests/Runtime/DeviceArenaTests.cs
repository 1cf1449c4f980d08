using Sals.Kernels.Cuda.Runtime;
using Xunit;

namespace Sals.Kernels.Cuda.Tests.Runtime;

public class DeviceArenaTests
{
    [Fact]
    public void Parts_are_aligned_and_do_not_overlap()
    {
        using var arena = new DeviceArena("test", 0x1000, 1024);
        Assert.Equal(0x1000u, arena.Take<byte>(1).Address);
        Assert.Equal(0x1100u, arena.Take<float>(65).Address);
        Assert.Equal(0x1300u, arena.Take<ushort>(128).Address);
        Assert.Equal(1024, arena.Used);
    }

    [Fact]
    public void Sum_of_sizes_is_what_the_parts_take()
    {
        var bytes = DeviceArena.SizeOf<float>(3) + DeviceArena.SizeOf<int>(300) + DeviceArena.SizeOf<byte>(0);
        using var arena = new DeviceArena("test", 0, bytes);
        _ = arena.Take<float>(3);
        _ = arena.Take<int>(300);
        _ = arena.Take<byte>(0);
        Assert.Equal(bytes, arena.Used);
    }

    [Fact]
    public void Part_that_does_not_fit_says_what_was_left()
    {
        using var arena = new DeviceArena("activations", 0, 512);
        _ = arena.Take<byte>(300);
        var error = Assert.Throws<InvalidOperationException>(() => arena.Take<byte>(1));
        Assert.Equal("activations: 256 bytes asked for, 0 of 512 left.", error.Message);
    }

    [Fact]
    public void Pointer_arithmetic_counts_elements() =>
        Assert.Equal(0x100u + 12, (new DevicePtr<float>(0x100) + 3).Address);
}
