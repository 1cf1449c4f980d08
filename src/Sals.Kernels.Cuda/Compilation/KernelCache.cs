using System.Security.Cryptography;
using System.Text;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Compilation;

/// <summary>
/// Compiled programs on disk, one file each, named by the hash of everything that decides their content: text, headers, options,
/// architecture and compiler version. A file is written beside its place and renamed, so that a reader never sees half of it;
/// one that does not match its own checksum is compiled anew.
/// </summary>
public sealed class KernelCache
{
    // format of an entry: magic, SHA-256 of the rest, length of the log, log, cubin
    private static readonly byte[] Magic = "SALSKRN1"u8.ToArray();

    private readonly string? _folder;
    private int _compiled;

    /// <param name="folder">Created when missing; null = keep nothing.</param>
    public KernelCache(string? folder) => _folder = folder;

    /// <summary>$XDG_CACHE_HOME/sals/kernels, or ~/.cache/sals/kernels.</summary>
    public static string DefaultFolder
    {
        get
        {
            var root = Environment.GetEnvironmentVariable("XDG_CACHE_HOME");
            return Path.Combine(
                string.IsNullOrEmpty(root) ? Path.Combine(Environment.GetFolderPath(Environment.SpecialFolder.UserProfile), ".cache") : root,
                "sals",
                "kernels");
        }
    }

    /// <summary>Programs that had to be compiled, not found, since construction.</summary>
    public int CompiledCount => _compiled;

    /// <summary>All programs, from disk where possible, else compiled side by side.</summary>
    /// <exception cref="CudaException">A program does not compile, or there is no compiler.</exception>
    public CompiledProgram[] Get(IReadOnlyList<KernelProgram> programs, string architecture)
    {
        var result = new CompiledProgram[programs.Count];
        try
        {
            Parallel.For(0, programs.Count, i => result[i] = Get(programs[i], architecture));
        }
        catch (AggregateException e)
        {
            // one compiler error is enough to read
            throw new CudaException(e.InnerExceptions[0].Message);
        }

        return result;
    }

    internal CompiledProgram Get(KernelProgram program, string architecture)
    {
        var path = _folder is null ? null : Path.Combine(_folder, Key(program, architecture, KernelCompiler.Version) + ".cubin");
        if (path is not null && TryRead(path) is { } stored)
        {
            return stored;
        }

        var compiled = KernelCompiler.Compile(program, architecture);
        Interlocked.Increment(ref _compiled);
        if (path is not null)
        {
            TryWrite(path, compiled);
        }

        return compiled;
    }

    /// <summary>64 hexadecimal digits. Every part is preceded by its length, so that no two lists of parts read the same.</summary>
    internal static string Key(KernelProgram program, string architecture, string compilerVersion)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        Append(hash, program.Source.Name);
        Append(hash, program.Source.Text);
        foreach (var header in program.Source.Headers)
        {
            Append(hash, header.Key);
            Append(hash, header.Value);
        }

        foreach (var option in program.Options())
        {
            Append(hash, option);
        }

        Append(hash, architecture);
        Append(hash, compilerVersion);
        return Convert.ToHexStringLower(hash.GetHashAndReset());
    }

    private static void Append(IncrementalHash hash, string part)
    {
        var bytes = Encoding.UTF8.GetBytes(part);
        hash.AppendData(BitConverter.GetBytes(bytes.Length));
        hash.AppendData(bytes);
    }

    private static CompiledProgram? TryRead(string path)
    {
        try
        {
            var bytes = File.ReadAllBytes(path);
            var head = Magic.Length + SHA256.HashSizeInBytes;
            if (bytes.Length < head + 4
                || !bytes.AsSpan(0, Magic.Length).SequenceEqual(Magic)
                || !SHA256.HashData(bytes.AsSpan(head)).AsSpan().SequenceEqual(bytes.AsSpan(Magic.Length, SHA256.HashSizeInBytes)))
            {
                return null;
            }

            var logLength = BitConverter.ToInt32(bytes, head);
            var log = Encoding.UTF8.GetString(bytes, head + 4, logLength);
            return new CompiledProgram(bytes[(head + 4 + logLength)..], log);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    // a cache that cannot be written costs the next start some seconds, no more
    private static void TryWrite(string path, CompiledProgram compiled)
    {
        var log = Encoding.UTF8.GetBytes(compiled.Log);
        byte[] body = [.. BitConverter.GetBytes(log.Length), .. log, .. compiled.Cubin];
        var temporary = $"{path}.{Environment.ProcessId}.{Environment.CurrentManagedThreadId}.tmp";
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(path)!);
            File.WriteAllBytes(temporary, [.. Magic, .. SHA256.HashData(body), .. body]);
            File.Move(temporary, path, overwrite: true);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            try
            {
                File.Delete(temporary);
            }
            catch (Exception again) when (again is IOException or UnauthorizedAccessException)
            {
                // the folder is gone or read-only; nothing is left to clean
            }
        }
    }
}
