using System.Numerics.Tensors;
using Sals.Engine.Models;

namespace Sals.Engine.Latent;

/// <summary>
/// Second moments of a model's queries before rope, in double: of every head by itself, which says along which directions errors of a key are seen, and of the heads
/// summed per KV head, which is what scores tokens. Not thread-safe.
/// </summary>
public sealed class QueryMoments
{
    private readonly ModelConfig _model;
    private readonly double[][] _heads;
    private readonly double[][] _sums;
    private readonly long[] _counts;

    public QueryMoments(ModelConfig model)
    {
        _model = model;
        _heads = [.. Enumerable.Range(0, model.LayerCount).Select(_ => new double[model.HeadCount * model.HeadSize * model.HeadSize])];
        _sums = [.. Enumerable.Range(0, model.LayerCount).Select(_ => new double[model.KeyWidth * model.KeyWidth])];
        _counts = new long[model.LayerCount];
    }

    /// <summary>Queries of a layer that were added.</summary>
    public long Count(int layer) => _counts[layer];

    /// <summary>Adds one query [HQ, DH] of a layer.</summary>
    public void Add(int layer, ReadOnlySpan<float> query)
    {
        int size = _model.HeadSize, width = _model.KeyWidth;
        var wide = new double[_model.QueryWidth];
        TensorPrimitives.ConvertTruncating(query, wide);
        var summed = new double[width];
        for (var head = 0; head < _model.HeadCount; head++)
        {
            var own = wide.AsSpan(head * size, size);
            AddOuter(own, _heads[layer].AsSpan(head * size * size, size * size));
            var target = summed.AsSpan(head / _model.GroupSize * size, size);
            TensorPrimitives.Add(target, own, target);
        }

        AddOuter(summed, _sums[layer]);
        _counts[layer]++;
    }

    /// <summary>Mean of q q^T of a head, [DH, DH].</summary>
    public double[] Head(int layer, int head)
    {
        var square = _model.HeadSize * _model.HeadSize;
        return Mean(_heads[layer].AsSpan(head * square, square), layer);
    }

    /// <summary>Mean of s s^T, s the queries summed per KV head, [D, D].</summary>
    public double[] Summed(int layer) => Mean(_sums[layer], layer);

    private static void AddOuter(ReadOnlySpan<double> vector, Span<double> square)
    {
        for (var i = 0; i < vector.Length; i++)
        {
            var row = square.Slice(i * vector.Length, vector.Length);
            TensorPrimitives.MultiplyAdd(vector, vector[i], row, row);
        }
    }

    private double[] Mean(ReadOnlySpan<double> sums, int layer)
    {
        var mean = new double[sums.Length];
        TensorPrimitives.Divide(sums, Math.Max(1, _counts[layer]), mean);
        return mean;
    }
}
