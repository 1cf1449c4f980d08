using System.Numerics.Tensors;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Models;

namespace Sals.Engine.Backends.Cpu;

/// <summary>
/// Rows on their way through a layer, one at a time: what happens to them before and after attention, which is the caller's. The same for decode rows
/// and for blocks of a prompt. Hidden states are the caller's too; the rest lies here and is overwritten by the next layer.
/// </summary>
internal sealed class LayerRows
{
    private readonly ModelConfig _model;
    private readonly CpuWeights _weights;
    private readonly RopeTable _rope;
    private readonly RowOperations _operations;
    private readonly float[] _mlp;

    /// <param name="rows">Most rows at once.</param>
    public LayerRows(ModelConfig model, CpuWeights weights, RopeTable rope, RowOperations operations, int rows)
    {
        (_model, _weights, _rope, _operations) = (model, weights, rope, operations);
        Width = model.QueryWidth + (2 * model.KeyWidth);
        Normed = new float[rows * model.HiddenSize];
        Projected = new float[rows * Width];
        Attended = new float[rows * model.QueryWidth];
        _mlp = new float[rows * 2 * model.IntermediateSize];
    }

    /// <summary>HQ * DH + 2 * D: queries, keys and values of a row.</summary>
    public int Width { get; }

    /// <summary>[rows, H]</summary>
    public float[] Normed { get; }

    /// <summary>[rows, <see cref="Width"/>]</summary>
    public float[] Projected { get; }

    /// <summary>[rows, HQ * DH], which attention writes.</summary>
    public float[] Attended { get; }

    public long Bytes => sizeof(float) * ((long)Normed.Length + Projected.Length + Attended.Length + _mlp.Length);

    /// <summary>[D] of row r.</summary>
    public ReadOnlySpan<float> Keys(int r) => Projected.AsSpan((r * Width) + _model.QueryWidth, _model.KeyWidth);

    /// <summary>[D] of row r.</summary>
    public ReadOnlySpan<float> Values(int r) => Projected.AsSpan((r * Width) + _model.QueryWidth + _model.KeyWidth, _model.KeyWidth);

    /// <summary>Norm and the product that gives queries, keys and values; each row is then completed by <see cref="FinishProjection"/>.</summary>
    /// <param name="hidden">[rows, H] from <paramref name="offset"/> on.</param>
    public void Project(int layer, float[] hidden, int offset, int rows)
    {
        var weights = _weights.Layers[layer];
        _operations.Norm(hidden, offset, rows, weights.InputNorm, _model.RmsNormEpsilon, Normed);
        _operations.Project(weights.QueryKeyValue, Normed, _model.HiddenSize, rows, Projected, 0, add: false);
    }

    /// <summary>Bias, query and key norms and rope of row r. Any worker may call it for any row.</summary>
    /// <param name="scoring">Completes the scoring query of decode row r on the way; null = none.</param>
    /// <param name="beforeRope">[HQ + HK, DH], receives the queries and keys that calibration looks at; empty otherwise.</param>
    public void FinishProjection(int layer, int r, int position, int worker, CpuSelection? scoring, Span<float> beforeRope)
    {
        var weights = _weights.Layers[layer];
        var row = Projected.AsSpan(r * Width, Width);
        if (weights.QueryKeyValueBias is { } bias)
        {
            TensorPrimitives.Add(row, bias, row);
        }

        var queries = row[.._model.QueryWidth];
        var keys = row.Slice(_model.QueryWidth, _model.KeyWidth);
        NormHeads(queries, weights.QueryNorm);
        NormHeads(keys, weights.KeyNorm);
        scoring?.FinishQuery(layer, r, worker, queries);
        row[..beforeRope.Length].CopyTo(beforeRope);
        Rope.Run(queries, _rope.Cos(position), _rope.Sin(position));
        Rope.Run(keys, _rope.Cos(position), _rope.Sin(position));
    }

    /// <summary>Output projection of <see cref="Attended"/> and MLP, both added to the hidden states.</summary>
    /// <param name="hidden">[rows, H] from <paramref name="offset"/> on.</param>
    public void Finish(int layer, float[] hidden, int offset, int rows)
    {
        var weights = _weights.Layers[layer];
        _operations.Project(weights.Output, Attended, _model.QueryWidth, rows, hidden, offset, add: true);
        RowOperations.AddBias(weights.OutputBias, hidden, offset, rows);
        _operations.Norm(hidden, offset, rows, weights.PostAttentionNorm, _model.RmsNormEpsilon, Normed);
        _operations.Project(weights.GateUp, Normed, _model.HiddenSize, rows, _mlp, 0, add: false);
        RowOperations.AddBias(weights.GateUpBias, _mlp, 0, rows);
        _operations.Silu(_mlp, rows, _model.IntermediateSize);
        _operations.Project(weights.Down, _mlp, 2 * _model.IntermediateSize, rows, hidden, offset, add: true);
        RowOperations.AddBias(weights.DownBias, hidden, offset, rows);
    }

    private void NormHeads(Span<float> heads, float[]? gamma)
    {
        for (; gamma is not null && heads.Length > 0; heads = heads[gamma.Length..])
        {
            RmsNorm.Run(heads[..gamma.Length], gamma, _model.RmsNormEpsilon, heads);
        }
    }
}
