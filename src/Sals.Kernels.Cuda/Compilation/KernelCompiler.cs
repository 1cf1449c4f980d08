using System.Globalization;
using System.Text;
using System.Text.RegularExpressions;
using Sals.Kernels.Cuda.Interop;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Compilation;

/// <summary>Machine code of one program and what its compiler said.</summary>
public sealed record CompiledProgram(byte[] Cubin, string Log)
{
    /// <summary>Registers and memory of every entry, read off ptxas's report.</summary>
    public IReadOnlyList<KernelResources> Resources => KernelResources.Parse(Log);
}

/// <summary>What a thread of a kernel occupies.</summary>
/// <param name="Name">Entry point.</param>
/// <param name="StackBytes">Local memory a thread uses; 0 in a good kernel.</param>
/// <param name="SpillBytes">Register spills, stores and loads together.</param>
/// <param name="SharedBytes">Static shared memory of a block.</param>
public sealed partial record KernelResources(string Name, int Registers, int StackBytes, int SpillBytes, int SharedBytes)
{
    /// <summary>Reads the lines that <c>ptxas -v</c> prints for each entry.</summary>
    public static IReadOnlyList<KernelResources> Parse(string log)
    {
        var all = new List<KernelResources>();
        string? name = null;
        int stack = 0, spill = 0;
        foreach (var line in log.Split('\n'))
        {
            if (Entry().Match(line) is { Success: true } entry)
            {
                name = entry.Groups[1].Value;
                stack = spill = 0;
            }
            else if (Frame().Match(line) is { Success: true } frame)
            {
                stack = Number(frame.Groups[1]);
                spill = Number(frame.Groups[2]) + Number(frame.Groups[3]);
            }
            else if (name is not null && Used().Match(line) is { Success: true } used)
            {
                var shared = Shared().Match(line);
                all.Add(new KernelResources(name, Number(used.Groups[1]), stack, spill, shared.Success ? Number(shared.Groups[1]) : 0));
                name = null;
            }
        }

        return all;
    }

    private static int Number(Group group) => int.Parse(group.Value, CultureInfo.InvariantCulture);

    [GeneratedRegex("Compiling entry function '([^']+)'")]
    private static partial Regex Entry();

    [GeneratedRegex(@"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads")]
    private static partial Regex Frame();

    [GeneratedRegex(@"Used (\d+) registers")]
    private static partial Regex Used();

    [GeneratedRegex(@"(\d+) bytes smem")]
    private static partial Regex Shared();
}

/// <summary>CUDA C to machine code with NVRTC. Needs no GPU. Thread-safe.</summary>
public static unsafe class KernelCompiler
{
    /// <summary>Such as "12.4"; part of the cache key.</summary>
    public static string Version
    {
        get
        {
            Check.Ok(Nvrtc.nvrtcVersion(out var major, out var minor));
            return $"{major}.{minor}";
        }
    }

    /// <param name="architecture">Such as "sm_90".</param>
    /// <exception cref="CudaException">The compiler's log, when it rejects the source or does not know the architecture.</exception>
    public static CompiledProgram Compile(KernelProgram program, string architecture)
    {
        var headers = program.Source.Headers;
        using var text = new Utf8Strings([program.Source.Text, program.Source.Name]);
        using var headerTexts = new Utf8Strings([.. headers.Select(h => h.Value)]);
        using var headerNames = new Utf8Strings([.. headers.Select(h => h.Key)]);
        using var options = new Utf8Strings([$"--gpu-architecture={architecture}", .. program.Options()]);
        Check.Ok(Nvrtc.nvrtcCreateProgram(out var handle, text.Pointers[0], text.Pointers[1], headers.Count, headerTexts.Pointers, headerNames.Pointers));
        try
        {
            var status = Nvrtc.nvrtcCompileProgram(handle, options.Count, options.Pointers);
            var log = ReadLog(handle);
            if (status != NvrtcStatus.Success)
            {
                throw new CudaException($"NVRTC {Version} could not compile {program.Source.Name} for {architecture} ({status}):\n{log}");
            }

            Check.Ok(Nvrtc.nvrtcGetCUBINSize(handle, out var size));
            var cubin = new byte[(int)size];
            fixed (byte* bytes = cubin)
            {
                Check.Ok(Nvrtc.nvrtcGetCUBIN(handle, bytes));
            }

            return new CompiledProgram(cubin, log);
        }
        finally
        {
            _ = Nvrtc.nvrtcDestroyProgram(ref handle);
        }
    }

    private static string ReadLog(nint handle)
    {
        Check.Ok(Nvrtc.nvrtcGetProgramLogSize(handle, out var size));
        var log = new byte[(int)size + 1];
        fixed (byte* bytes = log)
        {
            Check.Ok(Nvrtc.nvrtcGetProgramLog(handle, bytes));
        }

        return Encoding.UTF8.GetString(log).TrimEnd('\0', '\n');
    }
}
