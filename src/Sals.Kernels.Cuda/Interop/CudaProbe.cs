using System.Runtime.InteropServices;

namespace Sals.Kernels.Cuda.Interop;

/// <summary>One native library as found on this machine.</summary>
/// <param name="Name">What it is, with its file name.</param>
/// <param name="Path">Name or path it was loaded from; null when it was not found.</param>
/// <param name="Version">Its own version; null when it was not found or did not answer.</param>
/// <param name="Problem">Why it is missing or unusable, what that prevents, what to do and what was tried; null when all is well.</param>
public sealed record LibraryProbe(string Name, string? Path, string? Version, string? Problem);

/// <summary>One GPU.</summary>
/// <param name="Ordinal">Number for --device cuda:N.</param>
/// <param name="Architecture">What kernels are compiled for, such as "sm_80"; "sm_90a" on Hopper, whose warpgroup products no other has.</param>
/// <param name="Problem">Why it cannot be used; null when it can.</param>
public sealed record DeviceProbe(int Ordinal, string Name, string Architecture, long MemoryBytes, int Multiprocessors, string? Problem);

/// <summary>What <c>sals doctor</c> reports of CUDA.</summary>
/// <param name="Libraries">Driver, NVRTC, cuBLASLt, in this order.</param>
/// <param name="Devices">Empty when the driver is missing or sees none.</param>
/// <param name="Problem">Why there is no usable device although the driver library loads; null otherwise.</param>
public sealed record CudaProbe(IReadOnlyList<LibraryProbe> Libraries, IReadOnlyList<DeviceProbe> Devices, string? Problem)
{
    /// <summary>Oldest driver that is accepted, in CUDA's notation (12.0): the first with every entry point that is called.</summary>
    public const int MinimumDriver = 12000;

    /// <summary>Oldest accepted compute capability, major * 10 + minor: bf16 matrix instructions and cp.async.</summary>
    public const int MinimumCapability = 80;

    /// <summary>True when a model can be served on a GPU of this machine.</summary>
    public bool Usable => Libraries.All(l => l.Problem is null) && Devices.Any(d => d.Problem is null);

    internal static CudaProbe Take()
    {
        NativeLibraries.InstallResolver();
        var driver = ProbeDriver(out var driverVersion);
        var libraries = new[] { driver, ProbeNvrtc(driverVersion), ProbeCublasLt() };
        if (driver.Path is null)
        {
            return new CudaProbe(libraries, [], null);
        }

        try
        {
            var devices = ProbeDevices(out var problem);
            return new CudaProbe(libraries, devices, problem);
        }
        catch (EntryPointNotFoundException e)
        {
            return new CudaProbe(libraries, [], $"The CUDA driver lacks an entry point: {e.Message}");
        }
    }

    internal static string FormatVersion(int version) => $"{version / 1000}.{version % 1000 / 10}";

    private static LibraryProbe ProbeDriver(out int version)
    {
        version = 0;
        var search = NativeLibraries.Find(Driver.Library);
        var name = LibrarySearch.Title(Driver.Library);
        if (search.Handle == 0)
        {
            return new LibraryProbe(name, null, null, search.Explain(Driver.Library));
        }

        var status = Driver.cuDriverGetVersion(out version);
        if (status != DriverStatus.Success)
        {
            return new LibraryProbe(name, search.Path, null, $"cuDriverGetVersion answered {(int)status}: this is not a working driver (a toolkit stub?).");
        }

        var problem = version < MinimumDriver
            ? $"The driver supports CUDA {FormatVersion(version)}; {FormatVersion(MinimumDriver)} or newer is needed. Update the NVIDIA driver."
            : null;
        return new LibraryProbe(name, search.Path, FormatVersion(version), problem);
    }

    private static LibraryProbe ProbeNvrtc(int driverVersion)
    {
        var search = NativeLibraries.Find(Nvrtc.Library);
        var name = LibrarySearch.Title(Nvrtc.Library);
        if (search.Handle == 0)
        {
            return new LibraryProbe(name, null, null, search.Explain(Nvrtc.Library));
        }

        if (Nvrtc.nvrtcVersion(out var major, out var minor) != NvrtcStatus.Success)
        {
            return new LibraryProbe(name, search.Path, null, "nvrtcVersion failed: the library is damaged.");
        }

        var problem = driverVersion > 0 && major > driverVersion / 1000
            ? $"NVRTC {major}.{minor} compiles for a newer driver than the installed one (CUDA {FormatVersion(driverVersion)}): "
                + $"install NVRTC {driverVersion / 1000} or update the driver."
            : null;
        return new LibraryProbe(name, search.Path, $"{major}.{minor}", problem);
    }

    private static LibraryProbe ProbeCublasLt()
    {
        var search = NativeLibraries.Find(CublasLt.Library);
        var name = LibrarySearch.Title(CublasLt.Library);
        return search.Handle == 0
            ? new LibraryProbe(name, null, null, search.Explain(CublasLt.Library))
            : new LibraryProbe(name, search.Path, $"{CublasLt.cublasLtGetVersion()}", null);
    }

    private static unsafe DeviceProbe[] ProbeDevices(out string? problem)
    {
        var status = Driver.cuInit(0);
        if (status != DriverStatus.Success)
        {
            problem = status switch
            {
                DriverStatus.NoDevice => "The driver sees no GPU (CUDA_VISIBLE_DEVICES empty, or none in the machine).",
                DriverStatus.SystemDriverMismatch => "The driver library and the kernel module differ in version: reboot, or reinstall the driver.",
                DriverStatus.StubLibrary => "The loaded libcuda is a toolkit stub, not a driver.",
                _ => $"cuInit failed with {(int)status} ({Name(status)}).",
            };
            return [];
        }

        status = Driver.cuDeviceGetCount(out var count);
        if (status != DriverStatus.Success || count == 0)
        {
            problem = $"The driver sees no GPU (cuDeviceGetCount: {Name(status)}).";
            return [];
        }

        problem = null;
        var devices = new DeviceProbe[count];
        var name = stackalloc byte[256];
        for (var i = 0; i < count; i++)
        {
            _ = Driver.cuDeviceGet(out var device, i);
            _ = Driver.cuDeviceGetName(name, 256, device);
            _ = Driver.cuDeviceTotalMem(out var bytes, device);
            _ = Driver.cuDeviceGetAttribute(out var major, DeviceAttribute.ComputeCapabilityMajor, device);
            _ = Driver.cuDeviceGetAttribute(out var minor, DeviceAttribute.ComputeCapabilityMinor, device);
            _ = Driver.cuDeviceGetAttribute(out var processors, DeviceAttribute.MultiprocessorCount, device);
            var tooOld = (major * 10) + minor < MinimumCapability;
            devices[i] = new DeviceProbe(
                i,
                Marshal.PtrToStringUTF8((nint)name) ?? "",
                major == 9 && minor == 0 ? "sm_90a" : $"sm_{major}{minor}",
                (long)bytes,
                processors,
                tooOld ? $"Compute capability {major}.{minor}; 8.0 (Ampere) or newer is needed." : null);
        }

        return devices;
    }

    /// <summary>CUDA's name of a status, such as CUDA_ERROR_OUT_OF_MEMORY.</summary>
    internal static unsafe string Name(DriverStatus status) =>
        Driver.cuGetErrorName(status, out var name) == DriverStatus.Success ? Marshal.PtrToStringUTF8((nint)name)! : $"{(int)status}";
}
