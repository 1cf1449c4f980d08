using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Runtime;
using Xunit;

namespace Sals.Kernels.Cuda.Tests.Compilation;

public class ArgumentLayoutTests
{
    [Fact]
    public void Offsets_are_those_of_the_struct_in_memory()
    {
        var layout = ArgumentLayout.Of<Mixed>();
        Assert.Equal([("first", 0), ("page_table", 8), ("count", 16), ("scale", 20), ("last", 24)], layout);
    }

    [Fact]
    public void Argument_struct_that_differs_from_the_source_does_not_compile()
    {
        NvrtcForTests.Require();
        const string source = """
            struct Args { int count; const int* first; };
            static_assert((unsigned long long)__INTADDR__(&((Args*)0)->count) == AT_count, "count lies elsewhere");
            extern "C" __global__ void f(const __grid_constant__ Args args) {}
            """;
        var defines = ArgumentLayout.Of<Mixed>().Select(f => new KeyValuePair<string, long>("AT_" + f.Name, f.Offset)).ToArray();
        var error = Assert.Throws<CudaException>(() => KernelCompiler.Compile(new KernelProgram(KernelSource.FromText("f.cu", source), defines), "sm_80"));
        Assert.Contains("count lies elsewhere", error.Message, StringComparison.Ordinal);
    }

#pragma warning disable CS0649 // only its layout is looked at
    private struct Mixed
    {
        public DevicePtr<ushort> First;
        public DevicePtr<uint> PageTable;
        public int Count;
        public float Scale;
        public byte Last;
    }
#pragma warning restore CS0649
}
