using System.Reflection;
using System.Runtime.InteropServices;

namespace Sals.Kernels.Cuda.Interop;

/// <summary>
/// Finds the native libraries by their versioned names on first use, never earlier: a machine without a GPU runs everything else.
/// Order: the folders of SALS_CUDA_LIBRARY_PATH, the system's loader, then the folders where toolkits and containers put them.
/// </summary>
public static class NativeLibraries
{
    /// <summary>Folders searched first, separated by ':'.</summary>
    public const string PathVariable = "SALS_CUDA_LIBRARY_PATH";

    // newest first; a major version above the driver's is tried last, since what it compiles would not load
    private static readonly int[] ToolkitMajors = [13, 12];

    private static readonly string[] KnownFolders =
    [
        AppContext.BaseDirectory,
        "/usr/local/cuda/lib64",
        "/usr/local/cuda/compat",
        "/usr/local/nvidia/lib64",
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib/wsl/lib",
    ];

    private static readonly Lock Gate = new();
    private static readonly Dictionary<string, LibrarySearch> Found = [];
    private static bool _installed;

    /// <summary>What is installed here, and what a missing library prevents. Loads the libraries; creates no context; never throws.</summary>
    public static CudaProbe Probe() => CudaProbe.Take();

    /// <summary>Makes this assembly's imports go through <see cref="Find"/>; called by the import classes before their first call.</summary>
    internal static void InstallResolver()
    {
        lock (Gate)
        {
            if (!_installed)
            {
                NativeLibrary.SetDllImportResolver(typeof(NativeLibraries).Assembly, Resolve);
                _installed = true;
            }
        }
    }

    /// <summary>Loads a library once and remembers the answer, also when there is none.</summary>
    /// <param name="library"><see cref="Driver.Library"/>, <see cref="Nvrtc.Library"/>, <see cref="CublasLt.Library"/> or <see cref="Cusolver.Library"/>.</param>
    internal static LibrarySearch Find(string library)
    {
        // the driver's version orders the toolkit's candidates; asked outside the lock since that call resolves the driver
        var driverMajor = library == Driver.Library ? 0 : DriverMajor();
        lock (Gate)
        {
            if (!Found.TryGetValue(library, out var search))
            {
                search = Search(FileNames(library, driverMajor), Environment.GetEnvironmentVariable(PathVariable));
                Found[library] = search;
            }

            return search;
        }
    }

    /// <summary>Versioned file names in the order they are tried. The unversioned name is a development link and stands last.</summary>
    /// <param name="driverMajor">Major CUDA version of the installed driver, 0 = unknown.</param>
    internal static string[] FileNames(string library, int driverMajor)
    {
        if (library == Driver.Library)
        {
            return ["libcuda.so.1", "libcuda.so"];
        }

        var majors = driverMajor == 0
            ? ToolkitMajors
            : [.. ToolkitMajors.Where(m => m <= driverMajor), .. ToolkitMajors.Where(m => m > driverMajor)];

        // cuSOLVER counts one behind its toolkit
        var behind = library == Cusolver.Library ? 1 : 0;
        return [.. majors.Select(m => $"lib{library}.so.{m - behind}"), $"lib{library}.so"];
    }

    /// <param name="names">File names, best first.</param>
    /// <param name="extraFolders">Value of <see cref="PathVariable"/>.</param>
    internal static LibrarySearch Search(string[] names, string? extraFolders)
    {
        var tried = new List<string>();
        var extra = (extraFolders ?? "").Split(':', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        var candidates = extra.SelectMany(f => names.Select(n => Path.Combine(f, n)))
            .Concat(names)
            .Concat(KnownFolders.SelectMany(f => names.Select(n => Path.Combine(f, n))));
        foreach (var candidate in candidates)
        {
            var isPath = candidate.Contains('/', StringComparison.Ordinal);
            if (isPath && !File.Exists(candidate))
            {
                tried.Add($"{candidate} (no such file)");
                continue;
            }

            if (isPath)
            {
                LoadBuiltins(Path.GetDirectoryName(candidate)!, Path.GetFileName(candidate));
            }

            if (NativeLibrary.TryLoad(candidate, out var handle))
            {
                return new LibrarySearch(handle, candidate, tried);
            }

            tried.Add(isPath ? $"{candidate} (exists, but could not be loaded)" : $"{candidate} (not known to the loader)");
        }

        return new LibrarySearch(0, null, tried);
    }

    // NVRTC opens libnvrtc-builtins.so.<version> by bare name; once loaded from its folder, the loader finds it again by that name
    private static void LoadBuiltins(string folder, string file)
    {
        if (!file.StartsWith("libnvrtc.so", StringComparison.Ordinal))
        {
            return;
        }

        foreach (var builtins in Directory.EnumerateFiles(folder, "libnvrtc-builtins.so.*"))
        {
            _ = NativeLibrary.TryLoad(builtins, out _);
        }
    }

    private static int DriverMajor()
    {
        if (Find(Driver.Library).Handle == 0)
        {
            return 0;
        }

        return Driver.cuDriverGetVersion(out var version) == DriverStatus.Success ? version / 1000 : 0;
    }

    private static nint Resolve(string name, Assembly assembly, DllImportSearchPath? searchPath)
    {
        if (name is not (Driver.Library or Nvrtc.Library or CublasLt.Library or Cusolver.Library))
        {
            return 0;
        }

        var search = Find(name);
        return search.Handle != 0 ? search.Handle : throw new DllNotFoundException(search.Explain(name));
    }
}

/// <summary>Outcome of looking for one library.</summary>
/// <param name="Handle">Loader's handle; 0 = not found.</param>
/// <param name="Path">Name or path that loaded.</param>
/// <param name="Tried">Names and paths that did not, each with the reason.</param>
internal sealed record LibrarySearch(nint Handle, string? Path, IReadOnlyList<string> Tried)
{
    /// <summary>The message of a missing library: what it is for, where to get it, what was tried.</summary>
    public string Explain(string library)
    {
        var lines = string.Join(Environment.NewLine + "  ", Tried);
        return $"{Title(library)} was not found. {Purpose(library)} {Remedy(library)} Tried:{Environment.NewLine}  {lines}";
    }

    internal static string Title(string library) => library switch
    {
        Driver.Library => "The CUDA driver (libcuda.so.1)",
        Nvrtc.Library => "NVRTC, CUDA's run-time compiler (libnvrtc.so.12 or .13)",
        Cusolver.Library => "cuSOLVER (libcusolver.so.11 or .12)",
        _ => "cuBLASLt (libcublasLt.so.12 or .13)",
    };

    internal static string Purpose(string library) => library switch
    {
        Driver.Library => "Without it no GPU can be used; the CPU backend needs none of this.",
        Nvrtc.Library => "It compiles the GPU kernels at the first start on a machine.",
        Cusolver.Library => "It computes eigenvectors for calibration; serving needs none.",
        _ => "It runs the large matrix products of prefill.",
    };

    internal static string Remedy(string library) => library switch
    {
        Driver.Library => "Install the NVIDIA driver, or give the container access to the GPU (docker run --gpus all).",
        Nvrtc.Library => $"Install the CUDA toolkit's NVRTC package, or name its folder in {NativeLibraries.PathVariable}.",
        Cusolver.Library => $"Install the CUDA toolkit's cuSOLVER package, or name its folder in {NativeLibraries.PathVariable}.",
        _ => $"Install the CUDA toolkit's cuBLAS package, or name its folder in {NativeLibraries.PathVariable}.",
    };
}
