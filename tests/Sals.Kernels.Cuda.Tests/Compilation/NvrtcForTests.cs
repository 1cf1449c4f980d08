using System.Runtime.CompilerServices;
using Sals.Kernels.Cuda.Interop;
using Xunit;

namespace Sals.Kernels.Cuda.Tests.Compilation;

/// <summary>NVRTC for the tests: what tests/tools/get-nvrtc.sh fetched, or what is installed.</summary>
internal static class NvrtcForTests
{
    /// <summary>Skips the calling test where there is no compiler; fails it in CI, where a skip would hide a broken kernel.</summary>
    public static void Require()
    {
        var probe = NativeLibraries.Probe().Libraries[1];
        if (probe.Problem is null)
        {
            return;
        }

        var text = $"NVRTC is needed to compile the kernels; run tests/tools/get-nvrtc.sh. {probe.Problem}";
        Assert.False(Environment.GetEnvironmentVariable("CI") == "true", text);
        Assert.Skip(text);
    }

#pragma warning disable CA2255 // the folder must be known before the first native call of any test
    [ModuleInitializer]
    internal static void UseFetchedLibrary()
    {
        var root = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
        var cache = string.IsNullOrEmpty(root) ? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache") : root;
        var folder = Environment.GetEnvironmentVariable("SALS_NVRTC_FOLDER") ?? Path.Combine(cache, "sals", "nvrtc-12.4");
        if (string.IsNullOrEmpty(Environment.GetEnvironmentVariable(NativeLibraries.PathVariable)) && Directory.Exists(folder))
        {
            Environment.SetEnvironmentVariable(NativeLibraries.PathVariable, folder);
        }
    }
#pragma warning restore CA2255
}
