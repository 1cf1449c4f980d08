using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Runtime;
using Xunit;

namespace Sals.Kernels.Cuda.Tests.Compilation;

public sealed class KernelCacheTests : IDisposable
{
    private const string Source = """
        extern "C" __global__ void scale(float* x) { x[threadIdx.x] *= FACTOR; }
        """;

    private readonly string _folder = Directory.CreateTempSubdirectory("sals-cubin-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Key_depends_on_everything_that_decides_the_code()
    {
        string[] keys =
        [
            KernelCache.Key(Scale(2), "sm_90", "12.4"),
            KernelCache.Key(Scale(3), "sm_90", "12.4"),
            KernelCache.Key(Scale(2), "sm_80", "12.4"),
            KernelCache.Key(Scale(2), "sm_90", "13.0"),
            KernelCache.Key(new KernelProgram(KernelSource.FromText("scale.cu", Source + " "), Scale(2).Defines), "sm_90", "12.4"),
        ];
        Assert.Equal(keys.Length, keys.Distinct().Count());
        Assert.Equal(keys[0], KernelCache.Key(Scale(2), "sm_90", "12.4"));
    }

    [Fact]
    public void Key_does_not_depend_on_the_order_of_defines()
    {
        var source = KernelSource.FromText("scale.cu", Source);
        var ab = new KernelProgram(source, [new("A", 1), new("B", 2)]);
        var ba = new KernelProgram(source, [new("B", 2), new("A", 1)]);
        Assert.Equal(KernelCache.Key(ab, "sm_90", "12.4"), KernelCache.Key(ba, "sm_90", "12.4"));
    }

    [Fact]
    public void Second_start_compiles_nothing()
    {
        NvrtcForTests.Require();
        var first = new KernelCache(_folder);
        var compiled = first.Get([Scale(2), Scale(3)], "sm_80");
        Assert.Equal(2, first.CompiledCount);
        var second = new KernelCache(_folder);
        var found = second.Get([Scale(2), Scale(3)], "sm_80");
        Assert.Equal(0, second.CompiledCount);
        Assert.Equal(compiled[1].Cubin, found[1].Cubin);
        Assert.Equal(compiled[1].Log, found[1].Log);
        Assert.Equal("scale", Assert.Single(found[1].Resources).Name);
        Assert.DoesNotContain(Directory.EnumerateFiles(_folder), f => f.EndsWith(".tmp", StringComparison.Ordinal));
    }

    [Theory]
    [InlineData(-1)]
    [InlineData(0)]
    [InlineData(60)]
    public void Damaged_entry_is_compiled_anew(int byteToFlip)
    {
        NvrtcForTests.Require();
        var compiled = new KernelCache(_folder).Get([Scale(2)], "sm_80")[0];
        var file = Assert.Single(Directory.EnumerateFiles(_folder));
        var bytes = File.ReadAllBytes(file);
        if (byteToFlip < 0)
        {
            bytes = bytes[..(bytes.Length / 2)];
        }
        else
        {
            bytes[byteToFlip] ^= 1;
        }

        File.WriteAllBytes(file, bytes);
        var again = new KernelCache(_folder);
        Assert.Equal(compiled.Cubin, again.Get([Scale(2)], "sm_80")[0].Cubin);
        Assert.Equal(1, again.CompiledCount);
        var healed = new KernelCache(_folder);
        _ = healed.Get([Scale(2)], "sm_80");
        Assert.Equal(0, healed.CompiledCount);
    }

    [Fact]
    public void Folder_that_cannot_be_written_only_costs_time()
    {
        NvrtcForTests.Require();
        var file = Path.Combine(_folder, "a-file");
        File.WriteAllText(file, "");
        Assert.NotEmpty(new KernelCache(Path.Combine(file, "below")).Get([Scale(2)], "sm_80")[0].Cubin);
    }

    [Fact]
    public void Rejected_source_is_reported_with_the_compilers_words()
    {
        NvrtcForTests.Require();
        var broken = new KernelProgram(KernelSource.FromText("broken.cu", "extern \"C\" __global__ void f() { nonsense; }"), []);
        var error = Assert.Throws<CudaException>(() => new KernelCache(null).Get([broken], "sm_80"));
        Assert.Contains("broken.cu", error.Message, StringComparison.Ordinal);
        Assert.Contains("nonsense", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void Unknown_header_names_the_file_that_includes_it()
    {
        var error = Assert.Throws<ArgumentException>(() => KernelSource.FromText("lost.cu", "#include \"nowhere.cuh\"\n"));
        Assert.Contains("lost.cu: 'nowhere.cuh'", error.Message, StringComparison.Ordinal);
    }

    private static KernelProgram Scale(int factor) => new(KernelSource.FromText("scale.cu", Source), [new("FACTOR", factor)]);
}
