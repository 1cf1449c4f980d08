using System.Buffers.Binary;

namespace Sals.Engine.Models;

/// <summary>A tensor as its file's header describes it; checked against the file.</summary>
/// <param name="Name">Key of the header.</param>
/// <param name="Type">Element type.</param>
/// <param name="Shape">Sizes, outermost first; empty for a scalar.</param>
/// <param name="Offset">First byte, from the start of the file.</param>
/// <param name="Length">Bytes: product of the shape times the element size.</param>
public sealed record SafetensorsEntry(string Name, SafetensorsType Type, long[] Shape, long Offset, long Length)
{
    /// <summary>As in "[320, 64]".</summary>
    public string ShapeText => $"[{string.Join(", ", Shape)}]";
}

/// <summary>
/// One mapped .safetensors file: u64 little-endian header length, a JSON object
/// {name: {dtype, shape, data_offsets: [begin, end]}, "__metadata__": {text: text}}, then the bytes the offsets count in.
/// Everything is checked on opening: sizes, ranges, and that tensors cover the data without overlap or gap, as the format demands.
/// </summary>
public sealed class SafetensorsFile : IDisposable
{
    /// <summary>Longest header, the limit of the format.</summary>
    public const int LongestHeader = 100_000_000;

    private const int MostDimensions = 16;
    private const string MetadataKey = "__metadata__";

    // not Enum.TryParse, which also takes numbers and lists
    private static readonly Dictionary<string, SafetensorsType> Types = Enum.GetValues<SafetensorsType>().ToDictionary(type => type.ToString());

    private readonly MappedFile _file;
    private readonly Dictionary<string, SafetensorsEntry> _entries = [];
    private readonly Dictionary<string, string> _metadata = [];

    /// <exception cref="ModelLoadException">The file is missing, truncated or inconsistent.</exception>
    public SafetensorsFile(string path)
    {
        _file = new MappedFile(path);
        try
        {
            ReadHeader();
        }
        catch
        {
            _file.Dispose();
            throw;
        }
    }

    public string Path => _file.Path;

    public IReadOnlyDictionary<string, SafetensorsEntry> Entries => _entries;

    /// <summary>The free text of "__metadata__"; empty when there is none.</summary>
    public IReadOnlyDictionary<string, string> Metadata => _metadata;

    /// <summary>The entry called <paramref name="name"/>.</summary>
    /// <exception cref="ModelLoadException">There is none.</exception>
    public SafetensorsEntry Entry(string name)
    {
        return _entries.TryGetValue(name, out var entry) ? entry : throw new ModelLoadException(Path, name, "a tensor", "nothing");
    }

    /// <summary>All bytes of a tensor of less than 2 GiB.</summary>
    public ReadOnlySpan<byte> Bytes(SafetensorsEntry entry) => _file.Bytes(entry.Offset, checked((int)entry.Length));

    /// <summary>A tensor of one or two dimensions as float32, float16 or bfloat16.</summary>
    /// <exception cref="ModelLoadException">There is none of that name, or another type or shape.</exception>
    public Tensor Tensor(string name)
    {
        var entry = Entry(name);
        ElementType type = entry.Type switch
        {
            SafetensorsType.F32 => ElementType.Float32,
            SafetensorsType.F16 => ElementType.Float16,
            SafetensorsType.BF16 => ElementType.BFloat16,
            _ => throw new ModelLoadException(Path, name, "dtype F32, F16 or BF16", $"{entry.Type}"),
        };
        if (entry.Shape.Length is not (1 or 2) || entry.Shape.Any(size => size is < 1 or > int.MaxValue))
        {
            throw new ModelLoadException(Path, name, $"one or two dimensions of 1 to {int.MaxValue}", entry.ShapeText);
        }

        return new MappedTensor(_file, entry.Offset)
        {
            Name = name,
            Type = type,
            Rows = entry.Shape.Length == 1 ? 1 : (int)entry.Shape[0],
            Columns = (int)entry.Shape[^1],
        };
    }

    public void Dispose() => _file.Dispose();

    private void ReadHeader()
    {
        if (_file.Length < 8)
        {
            throw new ModelLoadException(Path, "header length", "8 bytes", $"a file of {_file.Length}");
        }

        var start = _file.Bytes(0, (int)Math.Min(_file.Length, 24));
        if (start.StartsWith("version https://git-lfs"u8))
        {
            throw new ModelLoadException(Path, null, "tensors", "a Git LFS pointer; fetch the file itself with git lfs pull");
        }

        ulong declared = BinaryPrimitives.ReadUInt64LittleEndian(start);
        long room = Math.Min(LongestHeader, _file.Length - 8);
        if (declared < 2 || declared > (ulong)room)
        {
            throw new ModelLoadException(Path, "header length", $"2 to {room} in a file of {_file.Length} bytes", $"{declared}");
        }

        var header = JsonField.Parse(Path, "header", _file.Bytes(8, (int)declared));
        long dataStart = 8 + (long)declared;
        foreach (var (name, field) in header.Members())
        {
            if (name == MetadataKey)
            {
                foreach (var (key, value) in field.Members())
                {
                    _metadata.Add(key, value.Text());
                }
            }
            else
            {
                _entries.Add(name, ReadEntry(name, field, dataStart));
            }
        }

        CheckCoverage(dataStart);
    }

    private SafetensorsEntry ReadEntry(string name, JsonField field, long dataStart)
    {
        string typeName = field.RequireObject()["dtype"].Text();
        if (!Types.TryGetValue(typeName, out var type))
        {
            throw field["dtype"].Error($"one of {string.Join(", ", Types.Keys)}");
        }

        long[] shape = [.. field["shape"].Items(MostDimensions).Select(size => size.Count())];
        var offsets = field["data_offsets"].Items(2);
        if (offsets.Count != 2)
        {
            throw field["data_offsets"].Error("[begin, end]");
        }

        long begin = offsets[0].Count();
        long end = offsets[1].Count();
        long dataLength = _file.Length - dataStart;
        if (begin > end || end > dataLength)
        {
            throw field["data_offsets"].Error($"begin <= end <= {dataLength}, the bytes behind the header", $"[{begin}, {end}]");
        }

        if (BytesOf(shape, type) is not { } bytes)
        {
            throw field["shape"].Error("a size in bytes below 2^63", $"[{string.Join(", ", shape)}]");
        }

        if (bytes != end - begin)
        {
            throw field["data_offsets"].Error($"{bytes} bytes for {type} [{string.Join(", ", shape)}]", $"{end - begin}");
        }

        return new SafetensorsEntry(name, type, shape, dataStart + begin, bytes);
    }

    /// <summary>Tensors, in order of their offsets, follow each other without overlap, gap or rest.</summary>
    private void CheckCoverage(long dataStart)
    {
        SafetensorsEntry? last = null;
        long covered = dataStart;
        foreach (var entry in _entries.Values.OrderBy(e => e.Offset).ThenBy(e => e.Length))
        {
            if (entry.Offset != covered)
            {
                string neighbour = last is null ? "the header" : ModelLoadException.Shown(last.Name);
                string what = entry.Offset < covered ? $"an overlap of {covered - entry.Offset} bytes" : $"a gap of {entry.Offset - covered} bytes";
                throw new ModelLoadException(Path, $"{ModelLoadException.Shown(entry.Name)}.data_offsets", $"data right behind {neighbour}", what);
            }

            covered += entry.Length;
            last = entry;
        }

        if (covered != _file.Length)
        {
            throw new ModelLoadException(Path, null, $"{covered} bytes, as the header describes", $"{_file.Length}");
        }
    }

    /// <summary>Null when the product overflows or, for packed types, is no whole number of bytes.</summary>
    internal static long? BytesOf(long[] shape, SafetensorsType type)
    {
        if (shape.Contains(0))
        {
            return 0;
        }

        Int128 bits = type.Bits();
        foreach (long size in shape)
        {
            bits *= size;
            if (bits > (Int128)long.MaxValue * 8)
            {
                return null;
            }
        }

        return bits % 8 == 0 ? (long)(bits / 8) : null;
    }
}
