using Sals.Engine.Models;
using Sals.Kernels.Cuda.Interop;
using Sals.Server.Hosting;
using Sals.Server.Options;
using Sals.Testing;
using Xunit;

namespace Sals.Server.Tests.Hosting;

public class DevicePlanTests
{
    private static readonly ModelConfig Served = TinyModel.Config() with { HiddenSize = 96, HeadSize = 64, IntermediateSize = 160 };

    private static readonly DeviceProbe Gpu = new(0, "NVIDIA H100", "sm_90", 80L << 30, 132, null);

    [Fact]
    public void Auto_takes_the_first_usable_gpu()
    {
        var old = Gpu with { Problem = "too old" };
        Assert.Equal(1, For(DeviceChoice.Auto, Served, Machine(old, Gpu with { Ordinal = 1 })).Gpu!.Ordinal);
        Assert.Equal(0, For(DeviceChoice.Cuda, Served, Machine(Gpu)).Gpu!.Ordinal);
    }

    [Fact]
    public void Cpu_does_not_look_for_a_gpu() =>
        Assert.Null(DevicePlan.For(SalsOptions.Default with { Device = DeviceChoice.Cpu }, Served, () => throw new InvalidOperationException()).Gpu);

    [Fact]
    public void Auto_without_a_gpu_is_the_cpu_and_cuda_says_what_is_missing()
    {
        var none = new CudaProbe([new LibraryProbe("The CUDA driver", null, null, "The CUDA driver was not found.")], [], null);
        Assert.Equal(new DevicePlan(Gpu: null), For(DeviceChoice.Auto, Served, none));
        Assert.Equal("--device cuda: The CUDA driver was not found.", Refusal(DeviceChoice.Cuda, Served, none));
        var broken = new CudaProbe([new LibraryProbe("The CUDA driver", "libcuda.so.1", "11.8", "The driver supports CUDA 11.8; 12.0 or newer is needed.")], [], null);
        Assert.Equal("Device: cpu although there is a GPU driver. The driver supports CUDA 11.8; 12.0 or newer is needed.", For(DeviceChoice.Auto, Served, broken).Note);
        Assert.Contains("too old", Refusal(DeviceChoice.Cuda, Served, Machine(Gpu with { Problem = "too old" })), StringComparison.Ordinal);
    }

    [Fact]
    public void A_model_that_the_kernels_do_not_serve_runs_on_the_cpu_with_a_note()
    {
        var model = Served with { HeadSize = 80 };
        var plan = For(DeviceChoice.Auto, model, Machine(Gpu));
        Assert.Null(plan.Gpu);
        Assert.Contains("head sizes 64 and 128", plan.Note, StringComparison.Ordinal);
        Assert.Contains("this model has 80", Refusal(DeviceChoice.Cuda, model, Machine(Gpu)), StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("dense")]
    [InlineData("auto")]
    [InlineData("sals-25")]
    [InlineData("sals-12.5")]
    public void Every_cache_runs_on_a_gpu(string cache) => Assert.NotNull(For(DeviceChoice.Auto, Served, Machine(Gpu), options => options with { KvCache = cache }).Gpu);

    [Fact]
    public void Settings_that_the_gpu_does_not_serve_are_named()
    {
        Assert.Contains("--dtype", Refusal(DeviceChoice.Cuda, Served, Machine(Gpu), options => options with { Dtype = DataType.Float32 }), StringComparison.Ordinal);
        Assert.Contains("--max-num-seqs: expected at most 256", Refusal(DeviceChoice.Cuda, Served, Machine(Gpu), options => options with { MaxSequences = 300 }), StringComparison.Ordinal);
    }

    private static CudaProbe Machine(params DeviceProbe[] devices) => new([], devices, null);

    private static DevicePlan For(DeviceChoice device, ModelConfig model, CudaProbe probe, Func<SalsOptions, SalsOptions>? change = null) =>
        DevicePlan.For((change ?? (options => options))(SalsOptions.Default with { Device = device }), model, () => probe);

    private static string Refusal(DeviceChoice device, ModelConfig model, CudaProbe probe, Func<SalsOptions, SalsOptions>? change = null) =>
        Assert.Throws<SettingException>(() => For(device, model, probe, change)).Message;
}
