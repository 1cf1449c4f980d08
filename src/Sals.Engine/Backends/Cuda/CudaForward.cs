using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Scheduling;
using Sals.Kernels.Cuda.Gemm;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.SkinnyGemm;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>
/// The order of launches, and the only forward: eager steps call it, capture calls the same methods, replay repeats what was recorded.
/// Nothing in it depends on anything but the number of rows and their kinds; all else is data in device memory.
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
    private readonly PoolKind[] _pools;
    private readonly StepInputs _inputs;

    /// <param name="sparse">The compressed layers' part; null when every layer is dense.</param>
    public CudaForward(
        ModelConfig model, CudaWeights weights, CudaKernels kernels, CudaCache cache, CudaSlots slots, StepArena arena, CudaStream stream, Gemm gemm, int chunk, CudaSparse? sparse)
    {
        Sparse = sparse;
        Reader = new ProbeReader(stream, cache);
        _pools = new PoolKind[model.LayerCount];
        Array.ForEach(cache.Layout.Spec.SparseLayers, layer => _pools[layer] = PoolKind.Hot);
        _inputs = sparse is null
            ? arena.Inputs
            : arena.Inputs with { ExactRuns = sparse.Arena.ExactRuns, Items = sparse.Arena.Items, Parts = sparse.Arena.ScoreParts };
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

    public CudaSparse? Sparse { get; }

    public ProbeReader Reader { get; }

    private int H => _model.HiddenSize;

    private int F => _model.IntermediateSize;

    private int QkvWidth => _model.QueryWidth + (2 * _model.KeyWidth);

    public CudaLayer Layer(int layer) => _weights.Layers[layer];

    /// <summary>One token of every row of the step, from its input to its sample.</summary>
    /// <param name="rows">Rows of the bucket; padding rows name slot SLOTS.</param>
    /// <param name="kinds">Of the others.</param>
    public void Decode(int rows, RowKinds kinds)
    {
        var a = _arena;
        _kernels.PlanStep.Launch(_stream, a.StepRows, _slots.State.LastToken, _slots.State.Length, _slots.State.Counts, _slots.State.Sampling, _inputs, rows);
        _kernels.EmbedTokens.Launch(_stream, _weights.Embedding, _inputs.Token, a.Hidden, rows);
        for (var layer = 0; layer < _model.LayerCount; layer++)
        {
            var w = _weights.Layers[layer];
            DecodeAttention(layer, w, rows, kinds);
            FinishLayer(w, a.Hidden, rows, decode: true);
            Reader.Hidden(layer, a.Hidden, H);
        }

        Head(a.Hidden, rows);
        Reader.Logits(a.Logits, _model.VocabularySize);
        Sample(0, 0, rows);
    }

    /// <summary>
    /// From the hidden states of the rows to their attended values; the rows' keys and values go to their pages. Where no row has a latent page a compressed layer is
    /// a dense one with hot pages.
    /// </summary>
    private void DecodeAttention(int layer, CudaLayer w, int rows, RowKinds kinds)
    {
        var a = _arena;
        var pool = _pools[layer];
        var planes = _cache.Planes(layer);
        var scored = pool == PoolKind.Hot && kinds != RowKinds.Exact;
        var stride = scored ? QkvWidth + Sparse!.Arena.Shape.ScoreRank : QkvWidth;
        ProjectQueryKeyValue(w, a.Hidden, rows, decode: true, stride);
        if (scored && !w.QueryNorm.IsNull)
        {
            Sparse!.Score(layer, a.QueryKeyValue, stride, w.QueryNorm, rows);
        }

        _kernels.Rope.LaunchAppend(
            _stream, a.QueryKeyValue, stride, (w.QueryNorm, w.KeyNorm, _model.RmsNormEpsilon), a.Rope, _inputs.Position, _inputs.Slot, _cache.Table(pool), _cache.Pages, planes,
            rows);
        if (pool == PoolKind.Dense)
        {
            _kernels.DenseAttend.Launch(_stream, a.QueryKeyValue, stride, _inputs, _inputs.Runs, _cache.Table(pool), _cache.Pages, planes, a.Attention, a.Attended, rows);
            return;
        }

        if (kinds != RowKinds.Compressed)
        {
            _kernels.HotAttend.Launch(_stream, a.QueryKeyValue, stride, _inputs, _inputs.ExactRuns, _cache.Table(pool), _cache.Pages, planes, a.Attention, a.Attended, rows);
        }

        if (scored)
        {
            Sparse!.Attend(layer, a.QueryKeyValue, stride, _inputs, a.Attended, rows);
        }

        Reader.Selected(layer, Sparse!.Arena.Selected, Sparse.Arena.Shape.SelectedStride);
    }

    /// <summary>
    /// Runs a slice of a prompt, or a <see cref="PromptPack"/>; the last hidden state of a prompt that ends its last layer goes to a row of the finals,
    /// from <paramref name="finalRow"/> on. A prompt that does not sample has none: the row behind the last takes what nobody reads.
    /// </summary>
    /// <param name="tokens">Ids of the slices' tokens, one after the other, when they begin at the first layer.</param>
    public void Prefill(ReadOnlySpan<PrefillSlice> slices, DevicePtr<int> tokens, int finalRow)
    {
        ref readonly var head = ref slices[0];
        var lane = _arena.Lanes[head.Lane];
        Span<LanePrompt> prompts = stackalloc LanePrompt[slices.Length];
        var total = 0;
        for (var i = 0; i < slices.Length; i++)
        {
            var offset = (long)slices[i].LaneOffset * _model.KeyWidth;
            prompts[i] = new LanePrompt(lane.Keys + offset, lane.Values + offset, slices[i].FirstToken, slices[i].EndToken - slices[i].FirstToken);
            total += prompts[i].Count;
        }

        var rows = lane.Hidden + ((long)(head.LaneOffset + head.FirstToken) * H);
        for (var layer = head.FirstLayer; layer < head.EndLayer; layer++)
        {
            if (head.HistoryLength > 0 && head.FirstToken == head.HistoryLength)
            {
                ReadPages(layer, head.Slots[0], head.HistoryLength, prompts[0].Keys, prompts[0].Values);
            }

            if (slices.Length > 1)
            {
                PrefillChunk(layer, layer == 0 ? tokens : default, rows, prompts, total);
            }
            else
            {
                for (var done = 0; done < total; done += _chunk)
                {
                    var part = prompts[0] with { First = head.FirstToken + done, Count = Math.Min(_chunk, total - done) };
                    PrefillChunk(layer, layer == 0 ? tokens + done : default, rows + ((long)done * H), [part], part.Count);
                }
            }

            for (var i = 0; i < slices.Length; i++)
            {
                if (slices[i].EndToken == slices[i].PromptLength)
                {
                    WritePages(layer, slices[i].Slots[0], slices[i].HistoryLength, slices[i].EndToken, prompts[i].Keys, prompts[i].Values);
                }
            }
        }

        foreach (ref readonly var slice in slices)
        {
            if (slice.EndLayer == _model.LayerCount && slice.EndToken == slice.PromptLength)
            {
                _stream.Copy(lane.Hidden + ((long)(slice.LaneOffset + slice.EndToken - 1) * H), _arena.Finals + ((long)finalRow * H), H);
                finalRow += slice.Samples ? 1 : 0;
            }
        }
    }

    /// <summary>Samples prompts that ended: logits of the first <paramref name="finals"/> rows, then <paramref name="count"/> of the second half of the step rows.</summary>
    /// <param name="result">Row of the result that the first one gets.</param>
    public void SampleFinals(int finals, int result, int count)
    {
        Head(_arena.Finals, finals);
        Reader.Logits(_arena.Logits, _model.VocabularySize);
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
                PrefillChunk(
                    layer, layer == 0 ? tokens + first : default, lane.Hidden + ((long)first * H), [new LanePrompt(lane.Keys, lane.Values, first, rows)], rows, keys);
            }
        }
    }

    /// <summary>One layer over tokens [first, first + count) of the first lane, to time it: on an embedding, since zeros run faster than data.</summary>
    public void RunLayerForTiming(int first, int count)
    {
        var lane = _arena.Lanes[0];
        PrefillChunk(0, _arena.Tokens + first, lane.Hidden + ((long)first * H), [new LanePrompt(lane.Keys, lane.Values, first, count)], count);
    }

    private void ReadPages(int layer, int slot, int history, DevicePtr<ushort> keys, DevicePtr<ushort> values)
    {
        if (_pools[layer] == PoolKind.Hot)
        {
            Sparse!.ReadPages(layer, slot, history, keys, values);
            return;
        }

        _kernels.PrefillStore.LaunchLoad(_stream, _cache.Row(PoolKind.Dense, slot), _cache.Pages, _cache.Planes(layer), keys, values, 0, history);
    }

    private void WritePages(int layer, int slot, int history, int length, DevicePtr<ushort> keys, DevicePtr<ushort> values)
    {
        if (_pools[layer] == PoolKind.Hot)
        {
            Sparse!.WritePages(layer, slot, history, length, keys, values);
            return;
        }

        _kernels.PrefillStore.LaunchStore(_stream, _cache.Row(PoolKind.Dense, slot), _cache.Pages, _cache.Planes(layer), keys, values, history, length - history);
    }

    /// <summary>One layer for the rows of a chunk: of one prompt, or of several from their first computed token to their end.</summary>
    /// <param name="tokens">Their ids, in the first layer.</param>
    /// <param name="hidden">[count, H]</param>
    private void PrefillChunk(
        int layer, DevicePtr<int> tokens, DevicePtr<ushort> hidden, ReadOnlySpan<LanePrompt> prompts, int count, Action<int, DevicePtr<ushort>, int>? show = null)
    {
        var w = _weights.Layers[layer];
        if (!tokens.IsNull)
        {
            _kernels.EmbedTokens.Launch(_stream, _weights.Embedding, tokens, hidden, count);
        }

        ProjectQueryKeyValue(w, hidden, count, decode: false, QkvWidth);
        show?.Invoke(layer, _arena.QueryKeyValue, count);
        var row = 0L;
        foreach (var p in prompts)
        {
            _kernels.Rope.LaunchLane(
                _stream, _arena.QueryKeyValue + (row * QkvWidth), (w.QueryNorm, w.KeyNorm, _model.RmsNormEpsilon), _arena.Rope, p.Keys, p.Values, p.First, p.Count);
            row += p.Count;
        }

        row = 0;
        foreach (var p in prompts)
        {
            _kernels.PrefillAttend.Launch(
                _stream, _arena.QueryKeyValue + (row * QkvWidth), p.Keys, p.Values, _arena.Attended + (row * _model.QueryWidth), p.First, p.Count);
            row += p.Count;
        }

        FinishLayer(w, hidden, count, decode: false);
    }

    /// <summary>Queries, keys and values; in decode of a compressed layer the scoring query behind them, unless the model norms its queries.</summary>
    /// <param name="stride">Elements of a row.</param>
    private void ProjectQueryKeyValue(CudaLayer w, DevicePtr<ushort> hidden, int rows, bool decode, int stride)
    {
        var a = _arena;
        var columns = w.QueryNorm.IsNull ? stride : QkvWidth;
        _kernels.RmsNorm.Launch(_stream, hidden, w.InputNorm, a.Normed, _model.RmsNormEpsilon, rows);
        if (decode && rows <= SkinnyGemmKernel.MaxRows)
        {
            _kernels.SkinnyGemm.LaunchStore(_stream, w.QueryKeyValue, a.Normed, w.QueryKeyValueBias, a.QueryKeyValue, columns, H, rows, stride);
        }
        else
        {
            _gemm.Run(_stream, w.QueryKeyValue, a.Normed, w.QueryKeyValueBias, a.QueryKeyValue, columns, H, rows, stride: stride, decode: decode);
        }
    }

    /// <summary>Output projection and MLP, both added to the hidden states.</summary>
    private void FinishLayer(CudaLayer w, DevicePtr<ushort> hidden, int rows, bool decode)
    {
        var a = _arena;
        if (decode && rows <= SkinnyGemmKernel.MaxRows)
        {
            _kernels.SkinnyGemm.LaunchAdd(_stream, w.Output, a.Attended, w.OutputBias, hidden, H, _model.QueryWidth, rows, spread: true);
            _kernels.RmsNorm.Launch(_stream, hidden, w.PostAttentionNorm, a.Normed, _model.RmsNormEpsilon, rows);
            _kernels.SkinnyGemm.LaunchSwiglu(_stream, w.GateUp, a.Normed, w.GateUpBias, a.Activated, F, H, rows);
            _kernels.SkinnyGemm.LaunchAdd(_stream, w.Down, a.Activated, w.DownBias, hidden, H, F, rows);
            return;
        }

        _gemm.Run(_stream, w.Output, a.Attended, w.OutputBias, hidden, H, _model.QueryWidth, rows, add: true, decode: decode);
        _kernels.RmsNorm.Launch(_stream, hidden, w.PostAttentionNorm, a.Normed, _model.RmsNormEpsilon, rows);
        _gemm.Run(_stream, w.GateUp, a.Normed, w.GateUpBias, a.GateUp, 2 * F, H, rows, decode: decode);
        _kernels.SiluMul.Launch(_stream, a.GateUp, a.Activated, rows);
        _gemm.Run(_stream, w.Down, a.Activated, w.DownBias, hidden, H, F, rows, add: true, decode: decode);
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

    /// <summary>Tokens [First, First + Count) of a prompt, whose keys and values [tokens, HK, DH] begin at these addresses of its lane.</summary>
    private readonly record struct LanePrompt(DevicePtr<ushort> Keys, DevicePtr<ushort> Values, int First, int Count);
}
