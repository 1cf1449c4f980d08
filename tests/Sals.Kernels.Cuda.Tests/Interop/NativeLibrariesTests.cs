using Sals.Kernels.Cuda.Interop;
using Xunit;

namespace Sals.Kernels.Cuda.Tests.Interop;

public class NativeLibrariesTests
{
    [Fact]
    public void Toolkit_newer_than_the_driver_is_tried_after_the_matching_one()
    {
        Assert.Equal(["libnvrtc.so.12", "libnvrtc.so.13", "libnvrtc.so"], NativeLibraries.FileNames("nvrtc", 12));
        Assert.Equal(["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"], NativeLibraries.FileNames("nvrtc", 13));
    }

    [Fact]
    public void Unknown_driver_prefers_the_newest_toolkit() =>
        Assert.Equal(["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"], NativeLibraries.FileNames("cublasLt", 0));

    [Fact]
    public void Solver_counts_one_behind_its_toolkit() =>
        Assert.Equal(["libcusolver.so.11", "libcusolver.so.12", "libcusolver.so"], NativeLibraries.FileNames("cusolver", 12));

    [Fact]
    public void Driver_is_looked_up_by_its_versioned_name_first() =>
        Assert.Equal("libcuda.so.1", NativeLibraries.FileNames("cuda", 0)[0]);

    [Fact]
    public void Missing_library_names_every_place_that_was_tried()
    {
        var search = NativeLibraries.Search(["libno-such-thing.so.7"], "/no/such/folder:/nor/this");
        Assert.Equal(0, search.Handle);
        Assert.Null(search.Path);
        Assert.Equal("/no/such/folder/libno-such-thing.so.7 (no such file)", search.Tried[0]);
        Assert.Equal("/nor/this/libno-such-thing.so.7 (no such file)", search.Tried[1]);
        Assert.Equal("libno-such-thing.so.7 (not known to the loader)", search.Tried[2]);
        var text = search.Explain("nvrtc");
        Assert.All(search.Tried, t => Assert.Contains(t, text, StringComparison.Ordinal));
        Assert.Contains("SALS_CUDA_LIBRARY_PATH", text, StringComparison.Ordinal);
    }

    [Fact]
    public void File_that_is_no_library_is_named_as_such()
    {
        var folder = Directory.CreateTempSubdirectory("sals-native-");
        try
        {
            var file = Path.Combine(folder.FullName, "libbroken.so.1");
            File.WriteAllText(file, "not an ELF file");
            var search = NativeLibraries.Search(["libbroken.so.1"], folder.FullName);
            Assert.Equal($"{file} (exists, but could not be loaded)", search.Tried[0]);
        }
        finally
        {
            folder.Delete(recursive: true);
        }
    }

    [Fact]
    public void Probe_answers_on_any_machine_and_explains_what_is_missing()
    {
        var probe = NativeLibraries.Probe();
        Assert.Equal(3, probe.Libraries.Count);
        foreach (var library in probe.Libraries.Where(l => l.Path is null))
        {
            Assert.NotNull(library.Problem);
            Assert.Contains("Tried:", library.Problem, StringComparison.Ordinal);
            Assert.False(probe.Usable);
        }
    }
}
