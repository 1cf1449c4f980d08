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
    private readonly CpuCache _cache;
    private readonly WorkerTeam _team;
    private readonly RowOperations _operations;
    private readonly LayerRows _rows;
    private readonly CpuSparse? _sparse;
    private readonly PrefillRecorder _recorder;
    private readonly PoolKind[] _pools;

    private readonly float[] _hidden;
    private readonly float[] _final;
    private readonly float[] _logits;
    private readonly float[][] _work;

    private readonly Action<int, int> _finishDecodeRow;
    private readonly Action<int, int> _attendDecodeRow;
    private readonly Action<int, int> _finishPrefillRows;
    private readonly Action<int, int> _attendPrefillRows;

    // operands of the operation that the team is running
    private int _layer;
    private int _count;
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
        _cache = cache;
        _team = team;
        _operations = new RowOperations(team);
        _rows = new LayerRows(model, weights, rope, _operations, Math.Max(BlockRows, slots));
        _recorder = new PrefillRecorder(model);
        _pools = new PoolKind[model.LayerCount];
        foreach (var layer in cache.Layout.Spec.SparseLayers)
        {
            _pools[layer] = PoolKind.Hot;
        }

        Lanes = lanes;
        _lane = lanes[0];
        _hidden = new float[slots * model.HiddenSize];
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
    public long Bytes => (sizeof(float) * ((long)_hidden.Length + _final.Length + _logits.Length + _work.Sum(w => (long)w.Length))) + _rows.Bytes;

    private int H => _model.HiddenSize;

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
            _rows.Project(_layer, _hidden, 0, count);
            _selects = _sparse is not null && _pools[_layer] == PoolKind.Hot && _sparse.AnySparse(count);
            if (_selects && _sparse!.Selection.ScoringWeight(_layer) is { } scoring)
            {
                _operations.Project(scoring, _rows.Normed, H, count, _sparse.Selection.Queries, 0, add: false);
            }

            _team.Run(count, _finishDecodeRow);
            if (_selects)
            {
                _sparse!.Selection.Select(_layer, count);
                for (var r = 0; Probe is not null && r < count; r++)
                {
                    Probe.Publish($"L{_layer:00}.selected", rows[r].Slot, rows[r].Position, MemoryMarshal.Cast<int, float>(_sparse.Selection.Selected(r)));
                }

                _sparse.Attend(_layer, count, _rows.Projected, _rows.Width);
            }

            _team.Run(count * _model.KeyValueHeadCount, _attendDecodeRow);
            _rows.Finish(_layer, _hidden, 0, count);
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

            if (known is not null)
            {
                for (var token = slice.FirstToken; token < slice.EndToken; token++)
                {
                    _lane.Store(_laneOffset + token, known.Keys(_layer, token), known.Values(_layer, token));
                }
            }
            else
            {
                if (_layer == 0)
                {
                    Embed(slice.Prompt.Span, slice.FirstToken, slice.EndToken);
                }

                for (var first = slice.FirstToken; first < slice.EndToken; first += BlockRows)
                {
                    var count = Math.Min(BlockRows, slice.EndToken - first);
                    PrefillBlock(first, count, endsPrompt: first + count == slice.PromptLength);
                }
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
        _operations.Norm(_final, 0, rows, _weights.FinalNorm, _model.RmsNormEpsilon, _rows.Normed);
        _operations.Project(_weights.Head, _rows.Normed, H, rows, _logits, 0, add: false);
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
        Embed(tokens, 0, tokens.Length);
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

    /// <summary>Brings tokens [first, end) of a prompt into the lane.</summary>
    private void Embed(ReadOnlySpan<int> prompt, int first, int end)
    {
        for (var t = first; t < end; t++)
        {
            _weights.Embedding.ReadRow(prompt[t], LaneRow(t));
        }
    }

    private void PrefillBlock(int first, int count, bool endsPrompt)
    {
        (_first, _count) = (first, count);
        var at = (_laneOffset + first) * H;
        _rows.Project(_layer, _lane.Hidden, at, count);
        _team.Run(RowOperations.Blocks(count), _finishPrefillRows);

        // nothing reads the last layer's outputs but those of the prompt's last token
        _skip = _layer < _model.LayerCount - 1 ? 0 : endsPrompt ? count - 1 : count;
        count -= _skip;
        if (count == 0)
        {
            return;
        }

        _team.Run(_model.HeadCount * RowOperations.Blocks(count), _attendPrefillRows);
        _rows.Finish(_layer, _lane.Hidden, at + (_skip * H), count);
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

    private void FinishDecodeRow(int r, int worker)
    {
        var (slot, _, position) = _decodeRows[r];
        _rows.FinishProjection(_layer, r, position, worker, _selects ? _sparse!.Selection : null, []);
        _cache.Store(_pools[_layer], slot, _layer, position, _rows.Keys(r), _rows.Values(r));
    }

    private void AttendDecodeRow(int chunk, int worker)
    {
        var (r, kvHead) = Math.DivRem(chunk, _model.KeyValueHeadCount);
        var (slot, _, position) = _decodeRows[r];
        var size = _model.GroupSize * _model.HeadSize;
        var queries = _rows.Projected.AsSpan((r * _rows.Width) + (kvHead * size), size);
        var attended = _rows.Attended.AsSpan((r * _model.QueryWidth) + (kvHead * size), size);
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
        var shown = _model.QueryWidth + _model.KeyWidth;
        for (var r = block * MatMul.TileRows; r < Math.Min(_count, (block + 1) * MatMul.TileRows); r++)
        {
            _rows.FinishProjection(_layer, r, _first + r, worker, scoring: null, _beforeRope is null ? [] : _beforeRope.AsSpan(r * shown, shown));
            _lane.Store(_laneOffset + _first + r, _rows.Keys(r), _rows.Values(r));
        }
    }

    private void AttendPrefillRows(int chunk, int worker)
    {
        var (block, head) = Math.DivRem(chunk, _model.HeadCount);
        var r = _skip + (block * MatMul.TileRows);
        var rows = Math.Min(MatMul.TileRows, _count - r);
        PrefillAttend.Run(
            _rows.Projected.AsSpan((r * _rows.Width) + (head * _model.HeadSize)), _rows.Width, rows, _lane, head / _model.GroupSize, _model.HeadSize, _laneOffset, _first + r,
            _work[worker], _rows.Attended.AsSpan(((r - _skip) * _model.QueryWidth) + (head * _model.HeadSize)), _model.QueryWidth);
    }
}
