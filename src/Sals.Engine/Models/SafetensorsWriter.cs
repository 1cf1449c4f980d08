using System.Buffers.Binary;
using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Text.Json;

namespace Sals.Engine.Models;

/// <summary>
/// Writes a .safetensors file that <see cref="SafetensorsFile"/> reads. The same content gives the same bytes: tensors lie in the order
/// they were added, metadata is sorted. Little-endian machines only, as everything here.
/// </summary>
public sealed class SafetensorsWriter
{
    private const int ChunkBytes = 1 << 26;

    private readonly List<Item> _items = [];
    private readonly SortedDictionary<string, string> _metadata = new(StringComparer.Ordinal);

    /// <summary>Free text under "__metadata__".</summary>
    public IDictionary<string, string> Metadata => _metadata;

    /// <summary>Adds a tensor; the array is read when the file is written, not now.</summary>
    /// <param name="name">Any text but "__metadata__", once.</param>
    /// <param name="type">What the bytes of <paramref name="values"/> mean.</param>
    /// <param name="values">Row-major; as many bytes as the shape and type say.</param>
    /// <param name="shape">Sizes, outermost first.</param>
    /// <exception cref="ArgumentException">The name is taken, or the size does not fit.</exception>
    public void Add<T>(string name, SafetensorsType type, T[] values, params long[] shape)
        where T : unmanaged
    {
        if (name == "__metadata__" || _items.Exists(item => item.Name == name))
        {
            throw new ArgumentException($"{name}: a tensor of this name cannot be added", nameof(name));
        }

        long bytes = values.LongLength * Unsafe.SizeOf<T>();
        if (Array.Exists(shape, size => size < 0) || SafetensorsFile.BytesOf(shape, type) is not { } expected || expected != bytes)
        {
            throw new ArgumentException($"{name}: {type} [{string.Join(", ", shape)}] does not describe {bytes} bytes", nameof(shape));
        }

        int step = ChunkBytes / Unsafe.SizeOf<T>();
        _items.Add(new Item(name, type, shape, bytes, stream =>
        {
            for (int first = 0; first < values.Length; first += step)
            {
                stream.Write(MemoryMarshal.AsBytes<T>(values.AsSpan(first, Math.Min(step, values.Length - first))));
            }
        }));
    }

    /// <summary>Writes beside <paramref name="path"/> and renames: the file is there complete, or as it was before.</summary>
    /// <exception cref="IOException">It cannot be written.</exception>
    public void Write(string path)
    {
        path = Path.GetFullPath(path);
        string unfinished = $"{path}.{Guid.NewGuid():N}.tmp";
        try
        {
            using (var stream = new FileStream(unfinished, FileMode.CreateNew, FileAccess.Write, FileShare.None))
            {
                byte[] header = Header();
                byte[] length = new byte[8];
                BinaryPrimitives.WriteInt64LittleEndian(length, header.Length);
                stream.Write(length);
                stream.Write(header);
                foreach (var item in _items)
                {
                    item.Write(stream);
                }

                stream.Flush(flushToDisk: true);
            }

            File.Move(unfinished, path, overwrite: true);
        }
        finally
        {
            File.Delete(unfinished);
        }
    }

    /// <summary>JSON padded with spaces, so that the data begins at a multiple of 8.</summary>
    private byte[] Header()
    {
        using var text = new MemoryStream();
        using (var json = new Utf8JsonWriter(text))
        {
            json.WriteStartObject();
            if (_metadata.Count > 0)
            {
                json.WriteStartObject("__metadata__");
                foreach (var (key, value) in _metadata)
                {
                    json.WriteString(key, value);
                }

                json.WriteEndObject();
            }

            long offset = 0;
            foreach (var item in _items)
            {
                json.WriteStartObject(item.Name);
                json.WriteString("dtype", item.Type.ToString());
                WriteArray("shape", item.Shape);
                WriteArray("data_offsets", [offset, offset + item.Bytes]);
                json.WriteEndObject();
                offset += item.Bytes;
            }

            json.WriteEndObject();

            void WriteArray(string name, long[] values)
            {
                json.WriteStartArray(name);
                foreach (long value in values)
                {
                    json.WriteNumberValue(value);
                }

                json.WriteEndArray();
            }
        }

        while (text.Length % 8 != 0)
        {
            text.WriteByte((byte)' ');
        }

        return text.ToArray();
    }

    private sealed record Item(string Name, SafetensorsType Type, long[] Shape, long Bytes, Action<Stream> Write);
}
