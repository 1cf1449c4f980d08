using System.IO.MemoryMappedFiles;

namespace Sals.Engine.Models;

/// <summary>
/// A file mapped read-only into memory. Every span is checked against the length the file had when it was opened; a file that
/// another process truncates afterwards ends this process (SIGBUS), as with every program that maps its weights.
/// </summary>
public sealed unsafe class MappedFile : IDisposable
{
    private readonly MemoryMappedFile _map;
    private readonly MemoryMappedViewAccessor _view;
    private byte* _start;

    /// <summary>Opens <paramref name="path"/>; symbolic links are followed.</summary>
    /// <exception cref="ModelLoadException">Missing, empty, not a regular file, a loop of links, or not readable.</exception>
    public MappedFile(string path)
    {
        Path = path;
        Length = LengthOf(path);
        try
        {
            _map = MemoryMappedFile.CreateFromFile(path, FileMode.Open, mapName: null, capacity: 0, MemoryMappedFileAccess.Read);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new ModelLoadException(path, $"cannot be opened: {e.Message}", e);
        }

        try
        {
            _view = _map.CreateViewAccessor(0, Length, MemoryMappedFileAccess.Read);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            _map.Dispose();
            throw new ModelLoadException(path, $"cannot be mapped: {e.Message}", e);
        }

        _view.SafeMemoryMappedViewHandle.AcquirePointer(ref _start);
        _start += _view.PointerOffset;
    }

    public string Path { get; }

    /// <summary>Bytes, at least 1.</summary>
    public long Length { get; }

    /// <summary>Bytes [offset, offset + length).</summary>
    /// <exception cref="ArgumentOutOfRangeException">The range leaves the file.</exception>
    /// <exception cref="ObjectDisposedException">The file has been unmapped.</exception>
    public ReadOnlySpan<byte> Bytes(long offset, int length)
    {
        ObjectDisposedException.ThrowIf(_start is null, this);
        ArgumentOutOfRangeException.ThrowIfNegative(offset);
        ArgumentOutOfRangeException.ThrowIfNegative(length);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(offset, Length - length);
        return new ReadOnlySpan<byte>(_start + offset, length);
    }

    public void Dispose()
    {
        if (_start is null)
        {
            return;
        }

        _start = null;
        _view.SafeMemoryMappedViewHandle.ReleasePointer();
        _view.Dispose();
        _map.Dispose();
    }

    /// <summary>
    /// Length of a regular file behind any links. Pipes and devices report 0 and are refused before they are opened, which could
    /// block or never end.
    /// </summary>
    /// <exception cref="ModelLoadException">Missing, empty, a folder, or a loop of links.</exception>
    internal static long LengthOf(string path)
    {
        try
        {
            var file = new FileInfo(path);
            string? link = file.LinkTarget;
            var target = link is null ? file : (FileInfo)file.ResolveLinkTarget(returnFinalTarget: true)!;
            if (Directory.Exists(target.FullName))
            {
                throw new ModelLoadException(path, null, "a file", "a folder");
            }

            if (!target.Exists)
            {
                throw new ModelLoadException(path, null, "a file", link is null ? "nothing" : $"a link to {ModelLoadException.Shown(link)}, which does not exist");
            }

            return target.Length > 0 ? target.Length : throw new ModelLoadException(path, null, "a file with content", "an empty file or a device");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or ArgumentException)
        {
            throw new ModelLoadException(path, $"cannot be opened: {e.Message}", e);
        }
    }
}
