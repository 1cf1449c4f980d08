using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Scheduling;
using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Gemm;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>
/// The backend for NVIDIA GPUs (compute capability 8.0 and later), bf16, dense cache. Plans are checked on the host, staged in one of two pinned
/// sets and enqueued; nothing waits for the device but <see cref="Collect"/>. All memory is taken here, at construction.
/// Used by one thread, which owns the CUDA context.
/// </summary>
public sealed class CudaBackend : IStepBackend
{
    /// <summary>Tokens of a prompt that go through a layer's products together.</summary>
    private const int Chunk = 1024;

    /// <summary>Capacity of the second lane, for prompts that need not wait behind a long one.</summary>
    private const int ShortLane = 16384;

    private readonly ModelConfig _model;
    private readonly List<IDisposable> _owned = [];
    private readonly CudaStream _stream;
    private readonly CudaCache _cache;
    private readonly CudaSlots _slots;
    private readonly CudaKernels _kernels;
    private readonly StepArena _arena;
    private readonly CudaForward _forward;
    private readonly DecodeGraphs _graphs;
    private readonly StepStaging[] _staging;
    private readonly CudaEvent[] _sampled;
    private readonly bool[] _masked = new bool[2];
    private long _submitted;
    private long _collected;
    private EngineFaultException? _fault;

    /// <exception cref="ArgumentException">An option or the model does not fit this backend.</exception>
    /// <exception cref="CudaException">No usable GPU, or not enough of its memory: the message says what is missing.</exception>
    public CudaBackend(ModelWeights weights, CudaBackendOptions options)
    {
        _model = weights.Config;
        Validate(_model, options);
        try
        {
            var device = Own(new CudaDevice(options.Device));
            _stream = Own(new CudaStream());
            var slots = options.Slots;
            var layout = new PageLayout(_model, options.Spec, ElementType.BFloat16);
            var budget = new CudaBudget(weights, layout, options, Chunk);
            var length = budget.MaxModelLength(CudaBudget.Free(device, options));
            var maxPages = CudaCache.PagesOf(length);
            var sampleable = options.SampleableVocabulary ?? _model.VocabularySize;
            _kernels = Own(new CudaKernels(device, new KernelCache(options.KernelCacheFolder), _model, slots, maxPages, sampleable));
            var lanes = LaneLengths(length);
            var words = CudaBudget.Words(slots, length);
            var uploaded = Own(new CudaWeights(_stream, weights));
            _arena = Own(new StepArena(_stream, _model, slots, maxPages, Chunk, lanes, words));
            _slots = Own(new CudaSlots(_stream, slots, _model.VocabularySize));
            var plans = Own(new GemmPlanCache(Chunk));
            Plan(plans);
            var (slab, bytes) = budget.Cache(device, CudaBudget.Free(device, options), length);
            _cache = Own(new CudaCache(layout, _stream, slots, length, slab, bytes));
            _forward = new CudaForward(_model, uploaded, _kernels, _cache, _slots, _arena, _stream, new Gemm(plans, _arena.Gemm), Chunk);
            _staging = [.. Enumerable.Range(0, 2).Select(_ => Own(new StepStaging(slots, StepArena.MaskWords(_model), lanes.Sum(), words)))];
            _sampled = [.. Enumerable.Range(0, 2).Select(_ => Own(new CudaEvent()))];
            UploadRope(length);
            _graphs = Own(new DecodeGraphs(_forward, _stream, slots));
            WarmUp(options.Graphs);
            Info = new BackendInfo
            {
                Name = "cuda",
                VocabularySize = _model.VocabularySize,
                LayerCount = _model.LayerCount,
                SlotCount = slots,
                MaxModelLength = length,
                LookAhead = 1,
                CacheBytes = _cache.Bytes,
                SlabBytes = slab,
                Spec = options.Spec,
                PageBytes = [.. PoolKinds.All.Select(layout.PageBytes)],
                CacheTokens = layout.TokensIn(_cache.Bytes, length),
                LaneLengths = lanes,
                PrefillChunk = Chunk,
                PrefillCost = MeasurePrefill(),
            };
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Most sequences that can run at once.</summary>
    public const int MaxSlots = PlanStepKernel.MaxRows;

    public BackendInfo Info { get; }

    /// <summary>Why the kernels cannot serve a model; null when they can.</summary>
    public static string? Unsupported(ModelConfig model) =>
        model.HeadSize is not (64 or 128) || model.GroupSize > 8
            ? $"The CUDA backend serves head sizes 64 and 128 with at most 8 query heads a KV head; this model has {model.HeadSize} and {model.GroupSize}."
        : model.HiddenSize % 32 != 0 || model.IntermediateSize % 32 != 0
            ? $"The CUDA backend needs hidden and MLP sizes that are multiples of 32; this model has {model.HiddenSize} and {model.IntermediateSize}."
        : null;

    internal static int[] LaneLengths(int maxModelLength) => [maxModelLength, Math.Min(maxModelLength, ShortLane)];

    /// <summary>For tests that look at or poison cache memory.</summary>
    internal CudaCache Cache => _cache;

    internal CudaStream Stream => _stream;

    public StepTicket Submit(StepPlan plan)
    {
        ThrowIfFaulted();
        if (_submitted - _collected >= _staging.Length)
        {
            throw new InvalidOperationException($"{_staging.Length} steps are outstanding; collect the oldest first.");
        }

        try
        {
            Enqueue(plan);
        }
        catch (Exception e)
        {
            throw Fault($"The CUDA backend failed in step {_submitted + 1}: {e.Message}", e);
        }

        return new StepTicket(++_submitted);
    }

    public void Collect(StepTicket ticket, StepResult result)
    {
        ThrowIfFaulted();
        if (ticket.Id != _collected + 1 || ticket.Id > _submitted)
        {
            throw new InvalidOperationException($"Step {ticket.Id} cannot be collected; the next is {_collected + 1} and {_submitted} were submitted.");
        }

        var set = (int)(_collected % _staging.Length);
        try
        {
            _sampled[set].Wait();
        }
        catch (CudaException e)
        {
            throw Fault($"The GPU failed in step {ticket.Id}: {e.Message}", e);
        }

        _collected++;
        _staging[set].Read(result);
    }

    public void Dispose()
    {
        for (var i = _owned.Count - 1; i >= 0; i--)
        {
            _owned[i].Dispose();
        }

        _owned.Clear();
    }

    private static void Validate(ModelConfig model, CudaBackendOptions options)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Slots, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.Slots, PlanStepKernel.MaxRows);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxModelLength, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.MaxModelLength, model.MaxModelLength);
        ArgumentOutOfRangeException.ThrowIfNotEqual(options.Spec.LayerCount, model.LayerCount);
        if (!options.Spec.IsDense)
        {
            throw new ArgumentException($"The CUDA backend keeps the dense cache only so far, not '{options.Spec.Name}'.", nameof(options));
        }

        if (Unsupported(model) is { } problem)
        {
            throw new ArgumentException(problem, nameof(options));
        }
    }

    private void Plan(GemmPlanCache plans)
    {
        var qkv = _model.QueryWidth + (2 * _model.KeyWidth);
        plans.Add(new GemmShape(qkv, _model.HiddenSize, Bias: _model.QueryKeyValueBias));
        plans.Add(new GemmShape(_model.HiddenSize, _model.QueryWidth, Bias: _model.OutputBias));
        plans.Add(new GemmShape(2 * _model.IntermediateSize, _model.HiddenSize, Bias: _model.MlpBias));
        plans.Add(new GemmShape(_model.HiddenSize, _model.IntermediateSize, Bias: _model.MlpBias));
    }

    private void Enqueue(StepPlan plan)
    {
        var set = (int)(_submitted % _staging.Length);
        var staging = _staging[set];
        staging.Begin();
        foreach (ref readonly var start in plan.Starts.Items)
        {
            _slots.Start(_stream, start);
            _cache.Clear(_stream, start.Slot);
        }

        foreach (ref readonly var edit in plan.Edits.Items)
        {
            _cache.Set(edit);
        }

        foreach (ref readonly var edit in plan.Edits.Items)
        {
            var (address, value) = _cache.Entry(edit);
            staging.Add(address, value);
        }

        Scatter(staging, 0);
        foreach (ref readonly var copy in plan.Copies.Items)
        {
            _cache.Copy(_stream, copy);
        }

        if (plan.Flushes.Count > 0)
        {
            throw new InvalidOperationException("A flush was planned, but no layer is compressed.");
        }

        // a step without masks finds none, whatever the steps before had
        if (_masked[0] || _masked[1])
        {
            _stream.Fill(_arena.Masks, 2L * _arena.Slots, 0xFF);
            Array.Clear(_masked);
        }

        StageDecode(plan, staging);
        var finals = StagePrefills(plan, staging);
        StageMasks(plan, staging, set);
        Decode(plan, staging);
        _sampled[set].Record(_stream);
        Prefill(plan, staging, finals);
        if (staging.ResultCount > plan.Decodes.Count)
        {
            _sampled[set].Record(_stream);
        }

        staging.Finished.Record(_stream);
    }

    /// <summary>Decode rows, padded to the bucket with rows of no slot.</summary>
    private void StageDecode(StepPlan plan, StepStaging staging)
    {
        var rows = staging.Rows.Span;
        var count = plan.Decodes.Count;
        for (var i = 0; i < count; i++)
        {
            var row = plan.Decodes[i];
            ref var length = ref _slots.Lengths[row.Slot];
            _cache.Require(PoolKind.Dense, row.Slot, length, length + 1);
            length++;
            rows[i] = new StepRow(row.Slot, row.ForcedToken, row.TargetToken, i);
            staging.Slots[staging.ResultCount++] = row.Slot;
        }

        if (count > 0)
        {
            rows[count.._graphs.BucketOf(count)].Fill(Padding);
        }
    }

    private StepRow Padding => new(_arena.Slots, 0, -1, 0);

    /// <summary>Token ids of slices that begin at the first layer, and the rows that ending prompts sample; returns the prompts that end.</summary>
    private int StagePrefills(StepPlan plan, StepStaging staging)
    {
        var finals = 0;
        foreach (ref readonly var slice in plan.Prefills.Items)
        {
            var lane = _arena.Lanes[slice.Lane].Length;
            if (slice.EndToken > slice.PromptLength || slice.LaneOffset + slice.EndToken > lane)
            {
                throw new InvalidOperationException(
                    $"A slice to token {slice.EndToken} of a prompt of {slice.PromptLength} at offset {slice.LaneOffset} does not fit lane {slice.Lane} of {lane}.");
            }

            if (slice.EndToken == slice.PromptLength)
            {
                _cache.Require(PoolKind.Dense, slice.Slots[0], 0, slice.PromptLength);
            }

            if (slice.FirstLayer == 0)
            {
                staging.Add(slice.Prompt.Span[slice.FirstToken..slice.EndToken]);
            }

            if (slice.EndLayer != _model.LayerCount || slice.EndToken != slice.PromptLength)
            {
                continue;
            }

            foreach (var slot in slice.Slots)
            {
                _slots.Lengths[slot] = slice.PromptLength;
                if (slice.Samples)
                {
                    var row = staging.ResultCount - plan.Decodes.Count;
                    staging.Rows.Span[_arena.Slots + row] = new StepRow(slot, -1, slice.TargetToken, finals);
                    staging.Slots[staging.ResultCount++] = slot;
                }
            }

            finals += slice.Samples ? 1 : 0;
        }

        return finals;
    }

    private void StageMasks(StepPlan plan, StepStaging staging, int set)
    {
        if (plan.Masks.Count == 0)
        {
            return;
        }

        var words = StepArena.MaskWords(_model);
        var masks = staging.Masks.Span;
        masks.Fill(-1);
        for (var m = 0; m < plan.Masks.Count; m++)
        {
            var mask = plan.Masks[m];
            mask.Bits.AsSpan(0, words).CopyTo(staging.Bitmaps.Span[(m * words)..]);
            for (var i = 0; i < staging.ResultCount; i++)
            {
                if (staging.Slots[i] == mask.Slot)
                {
                    masks[i < plan.Decodes.Count ? i : _arena.Slots + i - plan.Decodes.Count] = m;
                }
            }
        }

        _stream.Upload(staging.Masks, _arena.Masks, 2 * _arena.Slots);
        _stream.Upload(staging.Bitmaps, _arena.Bitmaps, plan.Masks.Count * words);
        _masked[set] = true;
    }

    private void Decode(StepPlan plan, StepStaging staging)
    {
        var count = plan.Decodes.Count;
        if (count == 0)
        {
            return;
        }

        _stream.Upload(staging.Rows, _arena.StepRows, _graphs.BucketOf(count));
        _graphs.Run(count);
        Download(staging, 0, count);
    }

    private void Prefill(StepPlan plan, StepStaging staging, int finals)
    {
        if (plan.Prefills.Count == 0)
        {
            return;
        }

        _stream.Upload(staging.Tokens, _arena.Tokens, staging.TokenCount);
        var words = staging.WordCount;
        int tokens = 0, final = 0;
        foreach (ref readonly var slice in plan.Prefills.Items)
        {
            // prompts that do not sample have no row of the finals; the row behind the last takes what nobody reads
            _forward.Prefill(slice, _arena.Tokens + tokens, final);
            tokens += slice.FirstLayer == 0 ? slice.EndToken - slice.FirstToken : 0;
            if (slice.EndLayer == _model.LayerCount && slice.EndToken == slice.PromptLength)
            {
                foreach (var slot in slice.Slots)
                {
                    staging.Add((_slots.State.Length + slot).As<uint>(), (uint)slice.PromptLength);
                }

                final += slice.Samples ? 1 : 0;
            }
        }

        Scatter(staging, words);
        var first = plan.Decodes.Count;
        var count = staging.ResultCount - first;
        if (count > 0)
        {
            _stream.Upload<StepRow>(staging.Rows.Span.Slice(_arena.Slots, count), _arena.StepRows + _arena.Slots);
            _forward.SampleFinals(finals, first, count);
            Download(staging, first, count);
        }
    }

    /// <summary>Writes the staged words from <paramref name="first"/> on.</summary>
    private void Scatter(StepStaging staging, int first)
    {
        var count = staging.WordCount - first;
        if (count > 0)
        {
            _stream.Upload<Sals.Kernels.Cuda.Kernels.ScatterWords.ScatteredWord>(staging.Words.Span.Slice(first, count), _arena.Words + first);
            _kernels.ScatterWords.Launch(_stream, _arena.Words + first, count);
        }
    }

    /// <summary>Fetches rows [first, first + count) of the result: three numbers each, and the alternatives.</summary>
    private void Download(StepStaging staging, int first, int count)
    {
        var slots = _arena.Slots;
        for (var i = 0; i < 3; i++)
        {
            _stream.Download(_arena.Result + ((i * slots) + first), staging.Result, (i * slots) + first, count);
        }

        for (var i = 0; i < 2; i++)
        {
            var at = (3 * slots) + (((i * slots) + first) * StepResult.MaxTop);
            _stream.Download(_arena.Result + at, staging.Result, at, count * StepResult.MaxTop);
        }
    }

    private void UploadRope(int positions)
    {
        var table = new RopeTable(_model.Rope, _model.HeadSize, positions);
        var pairs = new float[2 * table.CosTable.Length];
        for (var i = 0; i < table.CosTable.Length; i++)
        {
            (pairs[2 * i], pairs[(2 * i) + 1]) = (table.CosTable[i], table.SinTable[i]);
        }

        _stream.Upload<float>(pairs, _arena.Rope);
    }

    private void WarmUp(bool capture)
    {
        var rows = _staging[0].Rows;
        rows.Span.Fill(Padding);
        _stream.Upload(rows, _arena.StepRows, rows.Length);
        _graphs.WarmUp(capture);
        _stream.Synchronize();
    }

    /// <summary>Times one layer at the start of a prompt and as far behind as the first lane reaches.</summary>
    private PrefillCost MeasurePrefill()
    {
        var length = _arena.Lanes[0].Length;
        var count = Math.Min(Chunk, length);
        var begin = Time(0);
        var far = Math.Min(length - count, 16 * Chunk);
        var perPair = far > 0 ? Math.Max(1e-12, (Time(far) - begin) / ((double)count * far)) : 1e-9;
        return new PrefillCost(Math.Max(1e-7, (begin / count) - (perPair * count / 2)), perPair);

        double Time(int first)
        {
            using var start = new CudaEvent(timing: true);
            using var end = new CudaEvent(timing: true);
            var best = double.MaxValue;
            for (var i = 0; i < 4; i++)
            {
                start.Record(_stream);
                _forward.RunLayerForTiming(first, count);
                end.Record(_stream);
                end.Wait();

                // the first run chooses cuBLASLt layouts
                best = i == 0 ? best : Math.Min(best, end.MillisecondsSince(start));
            }

            return best;
        }
    }

    private void ThrowIfFaulted()
    {
        if (_fault is not null)
        {
            throw _fault;
        }
    }

    private EngineFaultException Fault(string message, Exception cause) => _fault = new EngineFaultException(message, cause);

    private T Own<T>(T resource)
        where T : IDisposable
    {
        _owned.Add(resource);
        return resource;
    }
}
