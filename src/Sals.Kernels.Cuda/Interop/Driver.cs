using System.Runtime.InteropServices;

namespace Sals.Kernels.Cuda.Interop;

/// <summary>Status of a driver call; only the values that are handled by name. Source: CUDA Driver API, CUresult.</summary>
internal enum DriverStatus
{
    Success = 0,
    InvalidValue = 1,
    OutOfMemory = 2,
    NotInitialized = 3,
    Deinitialized = 4,
    StubLibrary = 34,
    NoDevice = 100,
    InvalidImage = 200,
    NoBinaryForGpu = 209,
    NotReady = 600,
    SystemDriverMismatch = 803,
    Unknown = 999,
}

/// <summary>Device attributes that are read. Source: CUDA Driver API, CUdevice_attribute.</summary>
internal enum DeviceAttribute
{
    MultiprocessorCount = 16,
    L2CacheBytes = 38,
    ComputeCapabilityMajor = 75,
    ComputeCapabilityMinor = 76,
    MaxSharedBytesPerBlockOptIn = 97,
}

/// <summary>Function attributes. Source: CUDA Driver API, CUfunction_attribute.</summary>
internal enum FunctionAttribute
{
    SharedBytes = 1,
    LocalBytes = 3,
    Registers = 4,
    BinaryVersion = 6,
    MaxDynamicSharedBytes = 8,
}

/// <summary>One attribute of a launch. Source: CUDA Driver API, CUlaunchAttribute: a number, 4 bytes of padding, a union of 64 bytes.</summary>
[StructLayout(LayoutKind.Sequential, Size = 72)]
internal struct LaunchAttribute
{
    /// <summary>The launch may begin before the one ahead of it in the stream has ended; the kernel itself waits for that.</summary>
    public const uint ProgrammaticStreamSerialization = 6;

    public uint Id;
    public uint Padding;
    public int Value;
}

/// <summary>How to launch. Source: CUDA Driver API, CUlaunchConfig.</summary>
[StructLayout(LayoutKind.Sequential)]
internal unsafe struct LaunchConfig
{
    public uint GridX;
    public uint GridY;
    public uint GridZ;
    public uint BlockX;
    public uint BlockY;
    public uint BlockZ;
    public uint SharedBytes;
    public nint Stream;
    public LaunchAttribute* Attributes;
    public uint AttributeCount;
}

/// <summary>The CUDA driver's entry points, as declared in cuda.h, nothing more. Handles are native pointers, device addresses 64 bits.</summary>
internal static unsafe partial class Driver
{
    public const string Library = "cuda";

    static Driver() => NativeLibraries.InstallResolver();

    [LibraryImport(Library)]
    public static partial DriverStatus cuInit(uint flags);

    [LibraryImport(Library)]
    public static partial DriverStatus cuDriverGetVersion(out int version);

    [LibraryImport(Library)]
    public static partial DriverStatus cuGetErrorName(DriverStatus status, out byte* name);

    [LibraryImport(Library)]
    public static partial DriverStatus cuGetErrorString(DriverStatus status, out byte* text);

    [LibraryImport(Library)]
    public static partial DriverStatus cuDeviceGetCount(out int count);

    [LibraryImport(Library)]
    public static partial DriverStatus cuDeviceGet(out int device, int ordinal);

    [LibraryImport(Library)]
    public static partial DriverStatus cuDeviceGetName(byte* name, int capacity, int device);

    [LibraryImport(Library)]
    public static partial DriverStatus cuDeviceGetAttribute(out int value, DeviceAttribute attribute, int device);

    [LibraryImport(Library, EntryPoint = "cuDeviceTotalMem_v2")]
    public static partial DriverStatus cuDeviceTotalMem(out nuint bytes, int device);

    [LibraryImport(Library)]
    public static partial DriverStatus cuDevicePrimaryCtxRetain(out nint context, int device);

    [LibraryImport(Library, EntryPoint = "cuDevicePrimaryCtxRelease_v2")]
    public static partial DriverStatus cuDevicePrimaryCtxRelease(int device);

    [LibraryImport(Library)]
    public static partial DriverStatus cuCtxSetCurrent(nint context);

    [LibraryImport(Library)]
    public static partial DriverStatus cuCtxSynchronize();

    [LibraryImport(Library, EntryPoint = "cuMemGetInfo_v2")]
    public static partial DriverStatus cuMemGetInfo(out nuint free, out nuint total);

    [LibraryImport(Library, EntryPoint = "cuMemAlloc_v2")]
    public static partial DriverStatus cuMemAlloc(out ulong address, nuint bytes);

    [LibraryImport(Library, EntryPoint = "cuMemFree_v2")]
    public static partial DriverStatus cuMemFree(ulong address);

    [LibraryImport(Library)]
    public static partial DriverStatus cuMemHostAlloc(out nint address, nuint bytes, uint flags);

    [LibraryImport(Library)]
    public static partial DriverStatus cuMemFreeHost(nint address);

    [LibraryImport(Library, EntryPoint = "cuMemcpyHtoDAsync_v2")]
    public static partial DriverStatus cuMemcpyHtoDAsync(ulong destination, void* source, nuint bytes, nint stream);

    [LibraryImport(Library, EntryPoint = "cuMemcpyDtoHAsync_v2")]
    public static partial DriverStatus cuMemcpyDtoHAsync(void* destination, ulong source, nuint bytes, nint stream);

    [LibraryImport(Library, EntryPoint = "cuMemcpyDtoDAsync_v2")]
    public static partial DriverStatus cuMemcpyDtoDAsync(ulong destination, ulong source, nuint bytes, nint stream);

    [LibraryImport(Library)]
    public static partial DriverStatus cuMemsetD8Async(ulong destination, byte value, nuint count, nint stream);

    [LibraryImport(Library)]
    public static partial DriverStatus cuStreamCreate(out nint stream, uint flags);

    [LibraryImport(Library)]
    public static partial DriverStatus cuStreamSynchronize(nint stream);

    [LibraryImport(Library)]
    public static partial DriverStatus cuStreamWaitEvent(nint stream, nint waited, uint flags);

    [LibraryImport(Library, EntryPoint = "cuStreamDestroy_v2")]
    public static partial DriverStatus cuStreamDestroy(nint stream);

    [LibraryImport(Library, EntryPoint = "cuStreamBeginCapture_v2")]
    public static partial DriverStatus cuStreamBeginCapture(nint stream, int mode);

    [LibraryImport(Library)]
    public static partial DriverStatus cuStreamEndCapture(nint stream, out nint graph);

    [LibraryImport(Library)]
    public static partial DriverStatus cuEventCreate(out nint created, uint flags);

    [LibraryImport(Library)]
    public static partial DriverStatus cuEventRecord(nint recorded, nint stream);

    [LibraryImport(Library)]
    public static partial DriverStatus cuEventQuery(nint queried);

    [LibraryImport(Library)]
    public static partial DriverStatus cuEventSynchronize(nint waited);

    [LibraryImport(Library)]
    public static partial DriverStatus cuEventElapsedTime(out float milliseconds, nint start, nint end);

    [LibraryImport(Library, EntryPoint = "cuEventDestroy_v2")]
    public static partial DriverStatus cuEventDestroy(nint destroyed);

    [LibraryImport(Library)]
    public static partial DriverStatus cuGraphInstantiateWithFlags(out nint executable, nint graph, ulong flags);

    [LibraryImport(Library)]
    public static partial DriverStatus cuGraphUpload(nint executable, nint stream);

    [LibraryImport(Library)]
    public static partial DriverStatus cuGraphLaunch(nint executable, nint stream);

    [LibraryImport(Library)]
    public static partial DriverStatus cuGraphExecDestroy(nint executable);

    [LibraryImport(Library)]
    public static partial DriverStatus cuGraphDestroy(nint graph);

    [LibraryImport(Library)]
    public static partial DriverStatus cuModuleLoadDataEx(out nint module, void* image, uint optionCount, int* options, void** values);

    [LibraryImport(Library)]
    public static partial DriverStatus cuModuleUnload(nint module);

    [LibraryImport(Library, StringMarshalling = StringMarshalling.Utf8)]
    public static partial DriverStatus cuModuleGetFunction(out nint function, nint module, string name);

    [LibraryImport(Library)]
    public static partial DriverStatus cuFuncGetAttribute(out int value, FunctionAttribute attribute, nint function);

    [LibraryImport(Library)]
    public static partial DriverStatus cuFuncSetAttribute(nint function, FunctionAttribute attribute, int value);

    [LibraryImport(Library)]
    public static partial DriverStatus cuOccupancyMaxActiveBlocksPerMultiprocessor(out int blocks, nint function, int blockThreads, nuint sharedBytes);

    [LibraryImport(Library)]
    public static partial DriverStatus cuLaunchKernelEx(LaunchConfig* config, nint function, void** parameters, void** extra);
}
