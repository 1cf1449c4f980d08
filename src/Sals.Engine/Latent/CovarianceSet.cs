using System.Numerics;
using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Sals.Engine.Models;

namespace Sals.Engine.Latent;

/// <summary>
/// What calibration gathers of the keys of each layer (before rope, all KV heads side by side): how many, their sum and the sum of
/// their outer products, in double. Every entry is added up key by key in the order given, with one rounding each: the result does
/// not depend on how keys were divided into calls, nor on being saved and loaded on the way. Not thread-safe.
/// </summary>
public sealed class CovarianceSet
{
    private const string Format = "sals-covariance-1";
    private const int MostLayers = 1024;
    private const int MostWidth = 16384;

    /// <summary>Keys widened at once: their block stays in the second-level cache.</summary>
    private const int BlockKeys = 64;

    private readonly long[] _counts;
    private readonly double[][] _sums;

    // [D, D] sums, upper triangle only
    private readonly double[][] _moments;
    private readonly double[] _block;

    /// <param name="layerCount">L.</param>
    /// <param name="width">D.</param>
    public CovarianceSet(int layerCount, int width)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(layerCount);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(width);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(layerCount, MostLayers);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(width, MostWidth);
        Width = width;
        _counts = new long[layerCount];
        _sums = new double[layerCount][];
        _moments = new double[layerCount][];
        _block = new double[BlockKeys * width];
        for (int layer = 0; layer < layerCount; layer++)
        {
            _sums[layer] = new double[width];
            _moments[layer] = new double[width * width];
        }
    }

    /// <summary>L</summary>
    public int LayerCount => _counts.Length;

    /// <summary>D</summary>
    public int Width { get; }

    /// <summary>Keys added to a layer.</summary>
    public long Count(int layer) => _counts[layer];

    /// <summary>Adds keys of one layer.</summary>
    /// <param name="layer">Layer index.</param>
    /// <param name="keys">[N, D].</param>
    /// <exception cref="ArgumentException">No whole number of keys, or a key that is not finite; nothing has been added then.</exception>
    public void Add(int layer, ReadOnlySpan<float> keys)
    {
        if (keys.Length % Width != 0)
        {
            throw new ArgumentException($"{keys.Length} values are no whole number of keys of width {Width}", nameof(keys));
        }

        int bad = FirstNotFinite(keys);
        if (bad >= 0)
        {
            throw new ArgumentException($"layer {layer}: key {bad / Width} has a value that is not finite, {keys[bad]}", nameof(keys));
        }

        for (int first = 0; first < keys.Length; first += BlockKeys * Width)
        {
            var block = keys.Slice(first, Math.Min(BlockKeys * Width, keys.Length - first));
            TensorPrimitives.ConvertTruncating<float, double>(block, _block);
            AddBlock(layer, block.Length / Width);
        }

        _counts[layer] += keys.Length / Width;
    }

    /// <summary>Adds the sums over keys that were gathered elsewhere.</summary>
    /// <param name="count">Keys in the sums.</param>
    /// <param name="sum">[D]</param>
    /// <param name="moment">[D, D] sums of outer products; only the upper triangle is read later.</param>
    /// <exception cref="ArgumentException">A sum is not finite; nothing has been added then.</exception>
    public void AddSums(int layer, long count, ReadOnlySpan<double> sum, ReadOnlySpan<double> moment)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(count);
        if (!TensorPrimitives.IsFiniteAll(sum) || !TensorPrimitives.IsFiniteAll(moment))
        {
            throw new ArgumentException($"layer {layer}: a key has a value that is not finite", nameof(moment));
        }

        _counts[layer] += count;
        TensorPrimitives.Add(_sums[layer], sum, _sums[layer]);
        TensorPrimitives.Add(_moments[layer], moment, _moments[layer]);
    }

    /// <summary>Adds everything <paramref name="other"/> has gathered, as if its sums were single keys: not bit-equal to one pass.</summary>
    /// <exception cref="ArgumentException">Another number of layers or another width.</exception>
    public void Merge(CovarianceSet other)
    {
        if (other.LayerCount != LayerCount || other.Width != Width)
        {
            throw new ArgumentException($"expected {LayerCount} layers of width {Width}, found {other.LayerCount} of {other.Width}", nameof(other));
        }

        for (int layer = 0; layer < LayerCount; layer++)
        {
            AddSums(layer, other._counts[layer], other._sums[layer], other._moments[layer]);
        }
    }

    /// <summary>Mean key [D].</summary>
    /// <exception cref="InvalidOperationException">The layer has no keys.</exception>
    public double[] Mean(int layer)
    {
        double[] mean = (double[])_sums[layer].Clone();
        TensorPrimitives.Divide(mean, RequireKeys(layer), mean);
        return mean;
    }

    /// <summary>
    /// [D, D], symmetric: the second moment K^T K / n of the paper, or, centred, the population covariance K^T K / n - mean mean^T.
    /// </summary>
    /// <exception cref="InvalidOperationException">The layer has no keys.</exception>
    public double[] Covariance(int layer, bool centred)
    {
        double count = RequireKeys(layer);
        double[] mean = centred ? Mean(layer) : new double[Width];
        double[] moment = _moments[layer];
        double[] covariance = new double[moment.Length];
        for (int i = 0; i < Width; i++)
        {
            for (int j = i; j < Width; j++)
            {
                double value = moment[i * Width + j] / count - mean[i] * mean[j];
                covariance[i * Width + j] = value;
                covariance[j * Width + i] = value;
            }
        }

        return covariance;
    }

    /// <summary>Writes everything, exactly; the file is complete or as it was before.</summary>
    /// <param name="path">A .safetensors file.</param>
    /// <param name="metadata">Whatever the caller must know to go on: fingerprints, how far it came.</param>
    /// <exception cref="IOException">It cannot be written.</exception>
    public void Save(string path, IReadOnlyDictionary<string, string> metadata)
    {
        var writer = new SafetensorsWriter();
        foreach (var (key, value) in metadata)
        {
            writer.Metadata[key] = value;
        }

        writer.Metadata["format"] = Format;
        writer.Add("counts", SafetensorsType.I64, _counts, LayerCount);
        for (int layer = 0; layer < LayerCount; layer++)
        {
            writer.Add($"layers.{layer}.sum", SafetensorsType.F64, _sums[layer], Width);
            writer.Add($"layers.{layer}.moment", SafetensorsType.F64, _moments[layer], Width, Width);
        }

        writer.Write(path);
    }

    /// <summary>Reads what <see cref="Save"/> wrote.</summary>
    /// <param name="path">The file.</param>
    /// <param name="metadata">As saved, and "format".</param>
    /// <exception cref="ModelLoadException">No such file, or a broken one.</exception>
    public static CovarianceSet Load(string path, out IReadOnlyDictionary<string, string> metadata)
    {
        using var file = new SafetensorsFile(path);
        metadata = new Dictionary<string, string>(file.Metadata);
        if (metadata.GetValueOrDefault("format") is var format && format != Format)
        {
            throw new ModelLoadException(path, "__metadata__.format", Format, ModelLoadException.Shown(format ?? "nothing"));
        }

        int layers = SizeOf(file, "counts", MostLayers);
        int width = SizeOf(file, "layers.0.sum", MostWidth);
        var set = new CovarianceSet(layers, width);
        Copy(file, "counts", SafetensorsType.I64, set._counts, layers);
        for (int layer = 0; layer < layers; layer++)
        {
            Copy(file, $"layers.{layer}.sum", SafetensorsType.F64, set._sums[layer], width);
            Copy(file, $"layers.{layer}.moment", SafetensorsType.F64, set._moments[layer], width, width);
            if (set._counts[layer] < 0 || !TensorPrimitives.IsFiniteAll<double>(set._sums[layer]) || !TensorPrimitives.IsFiniteAll<double>(set._moments[layer]))
            {
                throw new ModelLoadException(path, $"layer {layer}", "a count of at least 0 and finite sums", "others");
            }
        }

        return set;
    }

    private static int SizeOf(SafetensorsFile file, string name, int most)
    {
        var entry = file.Entry(name);
        return entry.Shape is [>= 1] && entry.Shape[0] <= most
            ? (int)entry.Shape[0]
            : throw new ModelLoadException(file.Path, name, $"one dimension of 1 to {most}", entry.ShapeText);
    }

    private static void Copy<T>(SafetensorsFile file, string name, SafetensorsType type, T[] destination, params long[] shape)
        where T : unmanaged
    {
        var entry = file.Entry(name);
        if (entry.Type != type || !entry.Shape.SequenceEqual(shape))
        {
            throw new ModelLoadException(file.Path, name, $"{type} [{string.Join(", ", shape)}]", $"{entry.Type} {entry.ShapeText}");
        }

        file.Bytes(entry).CopyTo(MemoryMarshal.AsBytes(destination.AsSpan()));
    }

    private static int FirstNotFinite(ReadOnlySpan<float> values)
    {
        if (TensorPrimitives.IsFiniteAll(values))
        {
            return -1;
        }

        int i = 0;
        while (float.IsFinite(values[i]))
        {
            i++;
        }

        return i;
    }

    private double RequireKeys(int layer)
    {
        return _counts[layer] > 0 ? _counts[layer] : throw new InvalidOperationException($"layer {layer} has no keys");
    }

    /// <summary>Adds the first <paramref name="keys"/> keys of the block.</summary>
    private void AddBlock(int layer, int keys)
    {
        double[] sum = _sums[layer];
        double[] moment = _moments[layer];
        for (int t = 0; t < keys; t++)
        {
            TensorPrimitives.Add(sum, _block.AsSpan(t * Width, Width), sum);
        }

        Parallel.For(0, Width, i =>
        {
            var row = moment.AsSpan(i * Width + i, Width - i);
            int t = 0;
            for (; t + 4 <= keys; t += 4)
            {
                AddFour(row, t * Width + i);
            }

            for (; t < keys; t++)
            {
                var key = _block.AsSpan(t * Width + i, row.Length);
                double own = key[0];
                for (int j = 0; j < row.Length; j++)
                {
                    row[j] = Math.FusedMultiplyAdd(own, key[j], row[j]);
                }
            }
        });
    }

    /// <summary>row[j] += k[0] * k[j] for four keys, one after the other; the first begins at <paramref name="start"/> of the block.</summary>
    private void AddFour(Span<double> row, int start)
    {
        var key0 = _block.AsSpan(start, row.Length);
        var key1 = _block.AsSpan(start + Width, row.Length);
        var key2 = _block.AsSpan(start + 2 * Width, row.Length);
        var key3 = _block.AsSpan(start + 3 * Width, row.Length);
        var (own0, own1, own2, own3) = (key0[0], key1[0], key2[0], key3[0]);
        int j = 0;
        for (; j + Vector<double>.Count <= row.Length; j += Vector<double>.Count)
        {
            var total = new Vector<double>(row[j..]);
            total = Vector.FusedMultiplyAdd(new Vector<double>(own0), new Vector<double>(key0[j..]), total);
            total = Vector.FusedMultiplyAdd(new Vector<double>(own1), new Vector<double>(key1[j..]), total);
            total = Vector.FusedMultiplyAdd(new Vector<double>(own2), new Vector<double>(key2[j..]), total);
            total = Vector.FusedMultiplyAdd(new Vector<double>(own3), new Vector<double>(key3[j..]), total);
            total.CopyTo(row[j..]);
        }

        for (; j < row.Length; j++)
        {
            double total = Math.FusedMultiplyAdd(own0, key0[j], row[j]);
            total = Math.FusedMultiplyAdd(own1, key1[j], total);
            total = Math.FusedMultiplyAdd(own2, key2[j], total);
            row[j] = Math.FusedMultiplyAdd(own3, key3[j], total);
        }
    }
}
