using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Scheduling;
using Sals.Kernels.Cuda.Gemm;
using Sals.Kernels.Cuda.Kernels.SkinnyGemm;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>
/// The order of launches, and the only forward: eager steps call it, capture calls the same methods, replay repeats what was recorded.
/// Nothing in it depends on anything but the number of rows; all else is data in device memory.
/// </summary>
internal sealed class CudaForward
{
    private readonly ModelConfig _model;
    private readonly CudaWeights _weights;
    private readonly CudaKernels _kernels;
    private readonly CudaCache _cache;
    private readonly CudaSlots _slots;
    private readonly StepArena _arena;
    private readonly CudaStream _stream;
    private readonly Gemm _gemm;
    private readonly int _chunk;

    public CudaForward(
        ModelConfig model, CudaWeights weights, CudaKernels kernels, CudaCache cache, CudaSlots slots, StepArena arena, CudaStream stream, Gemm gemm, int chunk)
    {
        _model = model;
        _weights = weights;
        _kernels = kernels;
        _cache = cache;
        _slots = slots;
        _arena = arena;
        _stream = stream;
        _gemm = gemm;
        _chunk = chunk;
    }

    private int H => _model.HiddenSize;

    private int F => _model.IntermediateSize;

    private int QkvWidth => _model.QueryWidth + (2 * _model.KeyWidth);

    public CudaLayer Layer(int layer) => _weights.Layers[layer];

    /// <summary>One token of every row of the step, from its input to its sample.</summary>
    /// <param name="rows">Rows of the bucket; padding rows name slot SLOTS.</param>
    public void Decode(int rows)
    {
        var a = _arena;
        _kernels.PlanStep.Launch(_stream, a.StepRows, _slots.State.LastToken, _slots.State.Length, _slots.State.Counts, _slots.State.Sampling, a.Inputs, rows);
        _kernels.EmbedTokens.Launch(_stream, _weights.Embedding, a.Inputs.Token, a.Hidden, rows);
        for (var layer = 0; layer < _model.LayerCount; layer++)
        {
            var w = _weights.Layers[layer];
            var offset = _cache.Layout.KeyOffset(layer);
            ProjectQueryKeyValue(w, a.Hidden, rows, decode: true);
            _kernels.Rope.LaunchAppend(
                _stream, a.QueryKeyValue, QkvWidth, (w.QueryNorm, w.KeyNorm, _model.RmsNormEpsilon), a.Rope, a.Inputs.Position, a.Inputs.Slot, _cache.Table(PoolKind.Dense),
                _cache.Pages, offset, rows);
            _kernels.DenseAttend.Launch(_stream, a.QueryKeyValue, a.Inputs, _cache.Table(PoolKind.Dense), _cache.Pages, offset, a.Attention, a.Attended);
            FinishLayer(w, a.Hidden, rows, decode: true);
        }

        Head(a.Hidden, rows);
        Sample(0, 0, rows);
    }

    /// <summary>Runs a slice of a prompt; when it ends the prompt's last layer, its last hidden state goes to row <paramref name="finalRow"/> of the finals.</summary>
    /// <param name="tokens">Ids of the slice's tokens, when it begins at the first layer.</param>
    public void Prefill(in PrefillSlice slice, DevicePtr<int> tokens, int finalRow)
    {
        var lane = _arena.Lanes[slice.Lane];
        var hidden = lane.Hidden + ((long)slice.LaneOffset * H);
        var keys = lane.Keys + ((long)slice.LaneOffset * _model.KeyWidth);
        var values = lane.Values + ((long)slice.LaneOffset * _model.KeyWidth);
        var table = _cache.Row(PoolKind.Dense, slice.Slots[0]);
        for (var layer = slice.FirstLayer; layer < slice.EndLayer; layer++)
        {
            var offset = _cache.Layout.KeyOffset(layer);
            if (slice.HistoryLength > 0 && slice.FirstToken == slice.HistoryLength)
            {
                _kernels.PrefillStore.LaunchLoad(_stream, table, _cache.Pages, offset, keys, values, 0, slice.HistoryLength);
            }

            for (var first = slice.FirstToken; first < slice.EndToken; first += _chunk)
            {
                var count = Math.Min(_chunk, slice.EndToken - first);
                var rows = hidden + ((long)first * H);
                if (layer == 0)
                {
                    _kernels.EmbedTokens.Launch(_stream, _weights.Embedding, tokens + (first - slice.FirstToken), rows, count);
                }

                PrefillChunk(layer, rows, keys, values, first, count);
            }

            if (slice.EndToken == slice.PromptLength)
            {
                _kernels.PrefillStore.LaunchStore(
                    _stream, table, _cache.Pages, offset, keys, values, slice.HistoryLength, slice.EndToken - slice.HistoryLength);
            }
        }

        if (slice.EndLayer == _model.LayerCount && slice.EndToken == slice.PromptLength)
        {
            _stream.Copy(hidden + ((long)(slice.EndToken - 1) * H), _arena.Finals + ((long)finalRow * H), H);
        }
    }

    /// <summary>Samples prompts that ended: logits of the first <paramref name="finals"/> rows, then <paramref name="count"/> of the second half of the step rows.</summary>
    /// <param name="result">Row of the result that the first one gets.</param>
    public void SampleFinals(int finals, int result, int count)
    {
        Head(_arena.Finals, finals);
        Sample(_arena.Slots, result, count);
    }

    /// <summary>Runs a prompt from the first lane's token 0 through all layers and shows every chunk's keys before rope; nothing reaches the cache.</summary>
    /// <param name="tokens">[count]</param>
    /// <param name="keys">Gets (layer, [rows, (HQ + 2 HK) DH] as projected, rows).</param>
    public void ShowKeys(DevicePtr<int> tokens, int count, Action<int, DevicePtr<ushort>, int> keys)
    {
        var lane = _arena.Lanes[0];
        for (var layer = 0; layer < _model.LayerCount; layer++)
        {
            for (var first = 0; first < count; first += _chunk)
            {
                var rows = Math.Min(_chunk, count - first);
                var hidden = lane.Hidden + ((long)first * H);
                if (layer == 0)
                {
                    _kernels.EmbedTokens.Launch(_stream, _weights.Embedding, tokens + first, hidden, rows);
                }

                PrefillChunk(layer, hidden, lane.Keys, lane.Values, first, rows, keys);
            }
        }
    }

    /// <summary>One layer over tokens [first, first + count) of the first lane, to time it: on an embedding, since zeros run faster than data.</summary>
    public void RunLayerForTiming(int first, int count)
    {
        var lane = _arena.Lanes[0];
        var hidden = lane.Hidden + ((long)first * H);
        _kernels.EmbedTokens.Launch(_stream, _weights.Embedding, _arena.Tokens + first, hidden, count);
        PrefillChunk(0, hidden, lane.Keys, lane.Values, first, count);
    }

    private void PrefillChunk(
        int layer, DevicePtr<ushort> hidden, DevicePtr<ushort> keys, DevicePtr<ushort> values, int first, int count, Action<int, DevicePtr<ushort>, int>? show = null)
    {
        var w = _weights.Layers[layer];
        ProjectQueryKeyValue(w, hidden, count, decode: false);
        show?.Invoke(layer, _arena.QueryKeyValue, count);
        _kernels.Rope.LaunchLane(_stream, _arena.QueryKeyValue, (w.QueryNorm, w.KeyNorm, _model.RmsNormEpsilon), _arena.Rope, keys, values, first, count);
        _kernels.PrefillAttend.Launch(_stream, _arena.QueryKeyValue, keys, values, _arena.Attended, first, count);
        FinishLayer(w, hidden, count, decode: false);
    }

    private void ProjectQueryKeyValue(CudaLayer w, DevicePtr<ushort> hidden, int rows, bool decode)
    {
        var a = _arena;
        _kernels.RmsNorm.Launch(_stream, hidden, w.InputNorm, a.Normed, _model.RmsNormEpsilon, rows);
        if (decode && rows <= SkinnyGemmKernel.MaxRows)
        {
            _kernels.SkinnyGemm.LaunchStore(_stream, w.QueryKeyValue, a.Normed, w.QueryKeyValueBias, a.QueryKeyValue, QkvWidth, H, rows);
        }
        else
        {
            _gemm.Run(_stream, w.QueryKeyValue, a.Normed, w.QueryKeyValueBias, a.QueryKeyValue, QkvWidth, H, rows);
        }
    }

    /// <summary>Output projection and MLP, both added to the hidden states.</summary>
    private void FinishLayer(CudaLayer w, DevicePtr<ushort> hidden, int rows, bool decode)
    {
        var a = _arena;
        if (decode && rows <= SkinnyGemmKernel.MaxRows)
        {
            _kernels.SkinnyGemm.LaunchAdd(_stream, w.Output, a.Attended, w.OutputBias, hidden, H, _model.QueryWidth, rows);
            _kernels.RmsNorm.Launch(_stream, hidden, w.PostAttentionNorm, a.Normed, _model.RmsNormEpsilon, rows);
            _kernels.SkinnyGemm.LaunchSwiglu(_stream, w.GateUp, a.Normed, w.GateUpBias, a.Activated, F, H, rows);
            _kernels.SkinnyGemm.LaunchAdd(_stream, w.Down, a.Activated, w.DownBias, hidden, H, F, rows);
            return;
        }

        _gemm.Run(_stream, w.Output, a.Attended, w.OutputBias, hidden, H, _model.QueryWidth, rows, add: true);
        _kernels.RmsNorm.Launch(_stream, hidden, w.PostAttentionNorm, a.Normed, _model.RmsNormEpsilon, rows);
        _gemm.Run(_stream, w.GateUp, a.Normed, w.GateUpBias, a.GateUp, 2 * F, H, rows);
        _kernels.SiluMul.Launch(_stream, a.GateUp, a.Activated, rows);
        _gemm.Run(_stream, w.Down, a.Activated, w.DownBias, hidden, H, F, rows, add: true);
    }

    /// <summary>Logits of the first rows of <paramref name="hidden"/>, with the skinny product whatever their number: one plan for every row.</summary>
    private void Head(DevicePtr<ushort> hidden, int rows)
    {
        var a = _arena;
        _kernels.RmsNorm.Launch(_stream, hidden, _weights.FinalNorm, a.Normed, _model.RmsNormEpsilon, rows);
        for (var first = 0; first < rows; first += SkinnyGemmKernel.MaxRows)
        {
            var count = Math.Min(SkinnyGemmKernel.MaxRows, rows - first);
            _kernels.SkinnyGemm.LaunchFloat(
                _stream, _weights.Head, a.Normed + ((long)first * H), a.Logits + ((long)first * _model.VocabularySize), _model.VocabularySize, H, count);
        }
    }

    private void Sample(int first, int result, int rows) =>
        _kernels.SampleToken.Launch(
            _stream, _arena.StepRows + first, _arena.Masks + first, _arena.Bitmaps, _slots.State, _arena.Logits, _arena.AdjustedLogits, _arena.ResultsFrom(result), rows);
}
