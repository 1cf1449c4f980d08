using System.Runtime.InteropServices;

namespace Sals.Kernels.Cuda.Interop;

/// <summary>Status of an NVRTC call. Source: NVRTC documentation, nvrtcResult.</summary>
internal enum NvrtcStatus
{
    Success = 0,
    OutOfMemory = 1,
    ProgramCreationFailure = 2,
    InvalidInput = 3,
    InvalidProgram = 4,
    InvalidOption = 5,
    Compilation = 6,
    BuiltinOperationFailure = 7,
}

/// <summary>The run-time compiler's entry points, as declared in nvrtc.h, nothing more.</summary>
internal static unsafe partial class Nvrtc
{
    public const string Library = "nvrtc";

    static Nvrtc() => NativeLibraries.InstallResolver();

    [LibraryImport(Library)]
    public static partial NvrtcStatus nvrtcVersion(out int major, out int minor);

    [LibraryImport(Library)]
    public static partial byte* nvrtcGetErrorString(NvrtcStatus status);

    [LibraryImport(Library)]
    public static partial NvrtcStatus nvrtcCreateProgram(out nint program, byte* source, byte* name, int headerCount, byte** headers, byte** includeNames);

    [LibraryImport(Library)]
    public static partial NvrtcStatus nvrtcDestroyProgram(ref nint program);

    [LibraryImport(Library)]
    public static partial NvrtcStatus nvrtcCompileProgram(nint program, int optionCount, byte** options);

    [LibraryImport(Library)]
    public static partial NvrtcStatus nvrtcGetProgramLogSize(nint program, out nuint size);

    [LibraryImport(Library)]
    public static partial NvrtcStatus nvrtcGetProgramLog(nint program, byte* log);

    [LibraryImport(Library)]
    public static partial NvrtcStatus nvrtcGetCUBINSize(nint program, out nuint size);

    [LibraryImport(Library)]
    public static partial NvrtcStatus nvrtcGetCUBIN(nint program, byte* cubin);
}
