using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Scheduling;

namespace Sals.Engine.Backends.Cpu;

/// <summary>
/// The model, layer by layer over [rows, H]. Every operation works on rows one by one in a fixed order of summation, so a row's result
/// is the same in any batch and any slicing. All buffers are made once; the current operation's operands are fields because the
/// team's delegates are.
/// </summary>
internal sealed class CpuForward
{
    /// <summary>Tokens of a prompt that go through a layer's operations together; bounds the buffers.</summary>
    private const int BlockRows = 256;

    private readonly ModelConfig _model;
    private readonly CpuWeights _weights;
    private readonly RopeTable _rope;
    private readonly CpuCache _cache;
    private readonly WorkerTeam _team;
    private readonly RowOperations _operations;
    private readonly CpuSparse? _sparse;
    private readonly PrefillRecorder _recorder;
    private readonly PoolKind[] _pools;

    private readonly float[] _hidden;
    private readonly float[] _normed;
    private readonly float[] _qkv;
    private readonly float[] _attended;
    private readonly float[] _mlp;
    private readonly float[] _final;
    private readonly float[] _logits;
    private readonly float[][] _work;

    private readonly Action<int, int> _finishDecodeRow;
    private readonly Action<int, int> _attendDecodeRow;
    private readonly Action<int, int> _finishPrefillRows;
    private readonly Action<int, int> _attendPrefillRows;

    // operands of the operation that the team is running
    private int _layer;
    private int _rows;
    private CpuRow[] _decodeRows = [];
    private CpuLane _lane;
    private int _laneOffset;
    private int _first;
    private int _skip;
    private bool _selects;
    private float[]? _beforeRope;

    /// <param name="sparse">The compressed layers' part; null when every layer is dense.</param>
    public CpuForward(ModelConfig model, CpuWeights weights, RopeTable rope, CpuCache cache, WorkerTeam team, CpuLane[] lanes, int slots, CpuSparse? sparse)
    {
        _sparse = sparse;
        _model = model;
        _weights = weights;
        _rope = rope;
        _cache = cache;
        _team = team;
        _operations = new RowOperations(team);
        _recorder = new PrefillRecorder(model);
        _pools = new PoolKind[model.LayerCount];
        foreach (var layer in cache.Layout.Spec.SparseLayers)
        {
            _pools[layer] = PoolKind.Hot;
        }

        Lanes = lanes;
        _lane = lanes[0];
        var rows = Math.Max(BlockRows, slots);
        _hidden = new float[slots * model.HiddenSize];
        _normed = new float[rows * model.HiddenSize];
        _qkv = new float[rows * (model.QueryWidth + (2 * model.KeyWidth))];
        _attended = new float[rows * model.QueryWidth];
        _mlp = new float[rows * 2 * model.IntermediateSize];
        _final = new float[slots * model.HiddenSize];
        _logits = new float[checked(slots * model.VocabularySize)];
        var work = Math.Max(PrefillAttend.WorkspaceSize(MatMul.TileRows, lanes.Max(l => l.Length)), model.GroupSize * rope.PositionCount);
        _work = [.. Enumerable.Range(0, team.Count).Select(_ => new float[work])];

        _finishDecodeRow = FinishDecodeRow;
        _attendDecodeRow = AttendDecodeRow;
        _finishPrefillRows = FinishPrefillRows;
        _attendPrefillRows = AttendPrefillRows;
    }

    public CpuLane[] Lanes { get; }

    /// <summary>Null outside tests.</summary>
    public IStepProbe? Probe { get; set; }

    /// <summary>Prompts that another backend computed, or that others shall find; null = none.</summary>
    public PrefillShare? Share { get; set; }

    /// <summary>Bytes of activations.</summary>
    public long Bytes => sizeof(float)
        * ((long)_hidden.Length + _normed.Length + _qkv.Length + _attended.Length + _mlp.Length + _final.Length + _logits.Length + _work.Sum(w => (long)w.Length));

    private int H => _model.HiddenSize;

    private int QkvWidth => _model.QueryWidth + (2 * _model.KeyWidth);

    /// <summary>Runs one token each of <paramref name="count"/> slots and leaves their last hidden states in final rows 0 .. count - 1.</summary>
    public void Decode(CpuRow[] rows, int count)
    {
        _decodeRows = rows;
        _sparse?.Begin(rows, count);
        for (var r = 0; r < count; r++)
        {
            _weights.Embedding.ReadRow(rows[r].Token, _hidden.AsSpan(r * H, H));
        }

        for (_layer = 0; _layer < _model.LayerCount; _layer++)
        {
            ProjectQueryKeyValue(_hidden, 0, count);
            _selects = _sparse is not null && _pools[_layer] == PoolKind.Hot && _sparse.AnySparse(count);
            if (_selects && _sparse!.Selection.ScoringWeight(_layer) is { } scoring)
            {
                _operations.Project(scoring, _normed, H, count, _sparse.Selection.Queries, 0, add: false);
            }

            _team.Run(count, _finishDecodeRow);
            if (_selects)
            {
                _sparse!.Selection.Select(_layer, count);
                for (var r = 0; Probe is not null && r < count; r++)
                {
                    Probe.Publish($"L{_layer:00}.selected", rows[r].Slot, rows[r].Position, MemoryMarshal.Cast<int, float>(_sparse.Selection.Selected(r)));
                }

                _sparse.Attend(_layer, count, _qkv, QkvWidth);
            }

            _team.Run(count * _model.KeyValueHeadCount, _attendDecodeRow);
            FinishLayer(_hidden, 0, count);
            for (var r = 0; Probe is not null && r < count; r++)
            {
                Probe.Publish($"L{_layer:00}.hidden", rows[r].Slot, rows[r].Position, _hidden.AsSpan(r * H, H));
            }
        }

        _hidden.AsSpan(0, count * H).CopyTo(_final);
    }

    /// <summary>
    /// Runs a slice of a prompt. When it ends the last layer at the last token, that token's hidden state goes to final row
    /// <paramref name="finalRow"/> and the result is true.
    /// </summary>
    public bool Prefill(in PrefillSlice slice, int finalRow)
    {
        _lane = Lanes[slice.Lane];
        _laneOffset = slice.LaneOffset;
        var slot = slice.Slots[0];
        var known = slice.HistoryLength == 0 ? Share?.Find(slice.Prompt.Span) : null;
        for (_layer = slice.FirstLayer; _layer < slice.EndLayer; _layer++)
        {
            if (slice.HistoryLength > 0 && slice.FirstToken == slice.HistoryLength)
            {
                ReadPages(slot, slice.LaneOffset, slice.HistoryLength);
            }

            for (var token = slice.FirstToken; known is not null && token < slice.EndToken; token++)
            {
                _lane.Store(_laneOffset + token, known.Keys(_layer, token), known.Values(_layer, token));
            }

            for (var first = slice.FirstToken; known is null && first < slice.EndToken; first += BlockRows)
            {
                var count = Math.Min(BlockRows, slice.EndToken - first);
                if (_layer == 0)
                {
                    for (var t = 0; t < count; t++)
                    {
                        _weights.Embedding.ReadRow(slice.Prompt.Span[first + t], _lane.Hidden.AsSpan((slice.LaneOffset + first + t) * H, H));
                    }
                }

                PrefillBlock(first, count, endsPrompt: first + count == slice.PromptLength);
            }

            if (slice.EndToken == slice.PromptLength)
            {
                WritePages(slot, slice.LaneOffset, slice.HistoryLength, slice.EndToken);
                if (Share is not null && known is null && slice.HistoryLength == 0)
                {
                    _recorder.Add(Share, slice.Prompt.Span, _layer, _lane, _laneOffset, LaneRow(slice.EndToken - 1));
                }

                Probe?.Publish($"L{_layer:00}.hidden", slot, slice.EndToken - 1, LaneRow(slice.EndToken - 1));
            }
        }

        if (slice.EndLayer != _model.LayerCount || slice.EndToken != slice.PromptLength)
        {
            return false;
        }

        (known is null ? LaneRow(slice.EndToken - 1) : known.Hidden).CopyTo(_final.AsSpan(finalRow * H));
        return true;
    }

    /// <summary>Logits [V] of the final rows.</summary>
    public void ComputeLogits(int rows)
    {
        _operations.Norm(_final, 0, rows, _weights.FinalNorm, _model.RmsNormEpsilon, _normed);
        _operations.Project(_weights.Head, _normed, H, rows, _logits, 0, add: false);
    }

    public Span<float> Logits(int row) => _logits.AsSpan(row * _model.VocabularySize, _model.VocabularySize);

    /// <summary>Runs one layer over tokens [first, first + count) of whatever the first lane holds, without touching pages: to time it.</summary>
    public void RunLayerForTiming(int first, int count)
    {
        _lane = Lanes[0];
        _laneOffset = 0;
        _layer = 0;
        _lane.Hidden.AsSpan(first * H, count * H).Fill(0.01f);
        PrefillBlock(first, count, endsPrompt: false);
    }

    /// <summary>Runs a sequence through all layers in the first lane, without touching pages, and shows each layer's queries and keys before rope.</summary>
    public void Visit(ReadOnlySpan<int> tokens, QueryKeyVisitor visitor)
    {
        (_lane, _laneOffset) = (Lanes[0], 0);
        int width = _model.QueryWidth + _model.KeyWidth;
        _beforeRope = new float[BlockRows * width];
        for (var t = 0; t < tokens.Length; t++)
        {
            _weights.Embedding.ReadRow(tokens[t], _lane.Hidden.AsSpan(t * H, H));
        }

        for (_layer = 0; _layer < _model.LayerCount; _layer++)
        {
            for (var first = 0; first < tokens.Length; first += BlockRows)
            {
                var count = Math.Min(BlockRows, tokens.Length - first);
                PrefillBlock(first, count, endsPrompt: false);
                visitor(_layer, first, _beforeRope.AsSpan(0, count * width));
            }
        }

        _beforeRope = null;
    }

    private void PrefillBlock(int first, int count, bool endsPrompt)
    {
        (_first, _rows) = (first, count);
        var at = (_laneOffset + first) * H;
        ProjectQueryKeyValue(_lane.Hidden, at, count);
        _team.Run(RowOperations.Blocks(count), _finishPrefillRows);

        // nothing reads the last layer's outputs but those of the prompt's last token
        _skip = _layer < _model.LayerCount - 1 ? 0 : endsPrompt ? count - 1 : count;
        count -= _skip;
        if (count == 0)
        {
            return;
        }

        _team.Run(_model.HeadCount * RowOperations.Blocks(count), _attendPrefillRows);
        FinishLayer(_lane.Hidden, at + (_skip * H), count);
    }

    private void ReadPages(int slot, int offset, int history)
    {
        if (_pools[_layer] == PoolKind.Dense)
        {
            _lane.ReadPages(_cache, PoolKind.Dense, slot, _layer, offset, history);
        }
        else
        {
            _sparse!.ReadPages(_lane, slot, _layer, offset, history);
        }
    }

    private void WritePages(int slot, int offset, int history, int length)
    {
        if (_pools[_layer] == PoolKind.Dense)
        {
            _lane.WritePages(_cache, PoolKind.Dense, slot, _layer, offset, history, length);
        }
        else
        {
            _sparse!.WritePages(_lane, slot, _layer, offset, history, length);
        }
    }

    private Span<float> LaneRow(int token) => _lane.Hidden.AsSpan((_laneOffset + token) * H, H);

    private void ProjectQueryKeyValue(float[] hidden, int offset, int rows)
    {
        var layer = _weights.Layers[_layer];
        _operations.Norm(hidden, offset, rows, layer.InputNorm, _model.RmsNormEpsilon, _normed);
        _operations.Project(layer.QueryKeyValue, _normed, H, rows, _qkv, 0, add: false);
    }

    /// <summary>Output projection and MLP, both added to the hidden states.</summary>
    private void FinishLayer(float[] hidden, int offset, int rows)
    {
        var layer = _weights.Layers[_layer];
        _operations.Project(layer.Output, _attended, _model.QueryWidth, rows, hidden, offset, add: true);
        RowOperations.AddBias(layer.OutputBias, hidden, offset, rows);
        _operations.Norm(hidden, offset, rows, layer.PostAttentionNorm, _model.RmsNormEpsilon, _normed);
        _operations.Project(layer.GateUp, _normed, H, rows, _mlp, 0, add: false);
        RowOperations.AddBias(layer.GateUpBias, _mlp, 0, rows);
        _operations.Silu(_mlp, rows, _model.IntermediateSize);
        _operations.Project(layer.Down, _mlp, 2 * _model.IntermediateSize, rows, hidden, offset, add: true);
        RowOperations.AddBias(layer.DownBias, hidden, offset, rows);
    }

    /// <summary>Bias, query and key norms and rope of one row of queries, keys and values.</summary>
    /// <param name="scored">Decode row whose scoring query is completed on the way; -1 = none.</param>
    /// <param name="beforeRope">[HQ + HK, DH], receives the queries and keys that calibration looks at; empty otherwise.</param>
    private void FinishQueryKeyValue(Span<float> row, int position, int scored, int worker, Span<float> beforeRope)
    {
        var layer = _weights.Layers[_layer];
        if (layer.QueryKeyValueBias is { } bias)
        {
            TensorPrimitives.Add(row, bias, row);
        }

        var queries = row[.._model.QueryWidth];
        var keys = row.Slice(_model.QueryWidth, _model.KeyWidth);
        NormHeads(queries, layer.QueryNorm);
        NormHeads(keys, layer.KeyNorm);
        if (scored >= 0)
        {
            _sparse!.Selection.FinishQuery(_layer, scored, worker, queries);
        }

        if (beforeRope.Length > 0)
        {
            row[..beforeRope.Length].CopyTo(beforeRope);
        }

        Rope.Run(queries, _rope.Cos(position), _rope.Sin(position));
        Rope.Run(keys, _rope.Cos(position), _rope.Sin(position));
    }

    private void NormHeads(Span<float> heads, float[]? gamma)
    {
        for (; gamma is not null && heads.Length > 0; heads = heads[gamma.Length..])
        {
            RmsNorm.Run(heads[..gamma.Length], gamma, _model.RmsNormEpsilon, heads);
        }
    }

    private void FinishDecodeRow(int r, int worker)
    {
        var (slot, _, position) = _decodeRows[r];
        var row = _qkv.AsSpan(r * QkvWidth, QkvWidth);
        FinishQueryKeyValue(row, position, _selects ? r : -1, worker, []);
        var d = _model.KeyWidth;
        _cache.Store(_pools[_layer], slot, _layer, position, row.Slice(_model.QueryWidth, d), row.Slice(_model.QueryWidth + d, d));
    }

    private void AttendDecodeRow(int chunk, int worker)
    {
        var (r, kvHead) = Math.DivRem(chunk, _model.KeyValueHeadCount);
        var (slot, _, position) = _decodeRows[r];
        var size = _model.GroupSize * _model.HeadSize;
        var queries = _qkv.AsSpan((r * QkvWidth) + (kvHead * size), size);
        var attended = _attended.AsSpan((r * _model.QueryWidth) + (kvHead * size), size);
        if (_selects && _sparse!.IsSparse(r))
        {
            _sparse.Merge(r, kvHead, attended);
        }
        else
        {
            DenseAttend.Run(queries, _cache, _pools[_layer], slot, _layer, kvHead, _model.HeadSize, position + 1, _work[worker], attended);
        }
    }

    private void FinishPrefillRows(int block, int worker)
    {
        var d = _model.KeyWidth;
        var shown = _model.QueryWidth + d;
        for (var r = block * MatMul.TileRows; r < Math.Min(_rows, (block + 1) * MatMul.TileRows); r++)
        {
            var row = _qkv.AsSpan(r * QkvWidth, QkvWidth);
            FinishQueryKeyValue(row, _first + r, -1, worker, _beforeRope is null ? [] : _beforeRope.AsSpan(r * shown, shown));
            _lane.Store(_laneOffset + _first + r, row.Slice(_model.QueryWidth, d), row.Slice(_model.QueryWidth + d, d));
        }
    }

    private void AttendPrefillRows(int chunk, int worker)
    {
        var (block, head) = Math.DivRem(chunk, _model.HeadCount);
        var r = _skip + (block * MatMul.TileRows);
        var rows = Math.Min(MatMul.TileRows, _rows - r);
        PrefillAttend.Run(
            _qkv.AsSpan((r * QkvWidth) + (head * _model.HeadSize)), QkvWidth, rows, _lane, head / _model.GroupSize, _model.HeadSize, _laneOffset, _first + r,
            _work[worker], _attended.AsSpan(((r - _skip) * _model.QueryWidth) + (head * _model.HeadSize)), _model.QueryWidth);
    }

}
