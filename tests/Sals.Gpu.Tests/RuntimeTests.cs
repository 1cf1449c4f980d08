using Sals.Kernels.Cuda.Kernels.RmsNorm;
using Sals.Kernels.Cuda.Runtime;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests;

public class RuntimeTests
{
    [GpuFact]
    public void Pinned_memory_goes_to_the_device_and_back()
    {
        using var gpu = Gpu.Open();
        using var there = new PinnedBuffer<int>(1000);
        using var back = new PinnedBuffer<int>(1000);
        using var passed = new CudaEvent();
        for (var i = 0; i < 1000; i++)
        {
            there.Span[i] = i * 7;
        }

        var device = gpu.Poisoned<int>(1000);
        Assert.True(passed.HasPassed);
        gpu.Stream.Upload(there, device, 999);
        gpu.Stream.Download(device, back, 1000);
        passed.Record(gpu.Stream);
        passed.Wait();
        Assert.True(passed.HasPassed);
        Assert.Equal([.. there.Span[..999], -1], back.Span.ToArray());
    }

    [GpuFact]
    public void Replayed_graph_gives_the_bits_of_an_eager_run()
    {
        using var gpu = Gpu.Open();
        var inputs = new Inputs();
        const int hidden = 512, rows = 4;
        var kernel = new RmsNormKernel(gpu.Load(RmsNormKernel.Program(hidden)));
        var x = gpu.Upload<ushort>(Bf16.Narrow(inputs.Normal(rows * hidden)));
        var gamma = gpu.Upload<ushort>(Bf16.Narrow(inputs.Normal(hidden)));
        var y = gpu.Poisoned<ushort>(rows * hidden);
        kernel.Launch(gpu.Stream, x, gamma, y, 1e-5f, rows);
        var eager = gpu.DownloadBf16(y, rows * hidden);
        using var graph = gpu.Stream.Capture(() => kernel.Launch(gpu.Stream, x, gamma, y, 1e-5f, rows));
        gpu.Stream.Fill(y, rows * hidden, 0xFF);
        graph.Launch(gpu.Stream);
        Close.Exactly(eager, gpu.DownloadBf16(y, rows * hidden), $"{inputs}");
    }

    [GpuFact]
    public void Too_large_an_allocation_says_what_it_was_for_and_leaves_the_device_usable()
    {
        using var gpu = Gpu.Open();
        var error = Assert.Throws<CudaException>(() => new DeviceArena("cache pages", 1L << 50));
        Assert.True(error.OutOfMemory);
        Assert.Contains("cache pages", error.Message, StringComparison.Ordinal);
        Assert.Equal([5], gpu.Download(gpu.Upload<int>([5]), 1));
    }

    [GpuFact]
    public void Failed_launch_names_the_kernel()
    {
        using var gpu = Gpu.Open();
        var kernel = gpu.Load(RmsNormKernel.Program(512)).Get("rms_norm");
        var error = Assert.Throws<CudaException>(() => kernel.Launch(gpu.Stream, new(1), new(4096), 0, 0L));
        Assert.Contains("rms_norm<<<", error.Message, StringComparison.Ordinal);
    }
}
