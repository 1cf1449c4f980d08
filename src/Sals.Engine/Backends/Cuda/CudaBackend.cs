using System.Diagnostics;
using System.Globalization;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Scheduling;
using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Gemm;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.SkinnyGemm;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>
/// The backend for NVIDIA GPUs (compute capability 8.0 and later), bf16. Plans are enqueued by a
/// <see cref="StepQueue"/>; nothing waits for the device but <see cref="Collect"/>. All memory is taken here, at construction.
/// Used by one thread, which owns the CUDA context.
/// </summary>
public sealed class CudaBackend : IStepBackend
{
    /// <summary>Tokens of a prompt that go through a layer's products together.</summary>
    internal const int Chunk = 1024;

    /// <summary>Capacity of the second lane, for prompts that need not wait behind a long one.</summary>
    private const int ShortLane = 16384;

    /// <summary>About what the driver takes for a context, before anything is allocated.</summary>
    private const long ContextBytes = 512L << 20;

    private readonly ModelConfig _model;
    private readonly List<IDisposable> _owned = [];
    private readonly CudaStream _stream;
    private readonly CudaCache _cache;
    private readonly StepArena _arena;
    private readonly CudaForward _forward;
    private readonly StepQueue _queue;
    private long _submitted;
    private long _collected;

    // stopwatch ticks waited before the first step
    private long _rehearsed;
    private EngineFaultException? _fault;

    /// <exception cref="ArgumentException">An option or the model does not fit this backend.</exception>
    /// <exception cref="CudaException">No usable GPU, or not enough of its memory: the message says what is missing.</exception>
    public CudaBackend(ModelWeights weights, CudaBackendOptions options)
    {
        _model = weights.Config;
        Validate(_model, options);
        try
        {
            var device = Device = Own(new CudaDevice(options.Device));
            _stream = Own(new CudaStream());
            var slots = options.Slots;
            var layout = new PageLayout(_model, options.Spec, ElementType.BFloat16);
            var budget = new CudaBudget(weights, layout, options, Chunk);
            var length = budget.MaxModelLength(CudaBudget.Free(device, options));
            budget.Require(device, CudaBudget.Free(device, options), length);
            var maxPages = CudaCache.PagesOf(length);
            var sampleable = options.SampleableVocabulary ?? _model.VocabularySize;
            var cache = new KernelCache(options.KernelCacheFolder);
            var latent = options.Spec.IsDense ? null : CudaSparse.ShapeOf(_model, options.Spec, length);
            var kernels = Own(new CudaKernels(device, cache, _model, slots, maxPages, sampleable, options.Spec.DenseInt8, latent));
            var lanes = LaneLengths(length);
            var words = CudaBudget.Words(slots, length);
            var uploaded = Own(new CudaWeights(_stream, device, cache, weights, options.Spec, options.Basis, options.LoadProgress));
            _arena = Own(new StepArena(_stream, _model, slots, maxPages, Chunk, lanes, words, options.Spec.ScoreRank));
            var state = Own(new CudaSlots(_stream, slots, _model.VocabularySize));
            var plans = Own(new GemmPlanCache(Chunk));
            Plan(plans, options.Spec, slots);
            var basis = latent is null ? null : Own(new CudaBasis(_stream, layout, options.Basis!));
            var buffers = latent is null ? null : Own(new SparseArena(_stream, latent, slots, device.Multiprocessors));
            if (latent is { ScoreBands: > 0 })
            {
                var pages = CacheTimeline.LatentPages(length, options.Spec);
                _stream.Upload<float>(new ScoreBands(new RopeTable(_model.Rope, _model.HeadSize, 1), pages).MeanRotations, buffers!.BandMeans);
            }

            var (slab, bytes) = budget.Cache(device, CudaBudget.Free(device, options), length);
            _cache = Own(new CudaCache(layout, _stream, slots, length, slab, bytes));
            var sparse = latent is null ? null : new CudaSparse(_model, _stream, kernels, _cache, basis!, buffers!, _arena.Rope);
            _forward = new CudaForward(_model, uploaded, kernels, _cache, state, _arena, _stream, new Gemm(plans, _arena.Gemm), Chunk, sparse);
            UploadRope(length);
            var graphs = Own(new DecodeGraphs(_forward, _stream, slots));
            _queue = Own(new StepQueue(_model, _stream, _cache, state, kernels, _arena, _forward, graphs, words));
            var (free, start) = (device.FreeBytes, Stopwatch.GetTimestamp());
            _queue.WarmUp(options.Graphs);
            WarmUpCost = (Stopwatch.GetElapsedTime(start).TotalSeconds, free - device.FreeBytes);
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
                BasisBytes = latent is null
                    ? 0
                    : CudaBasis.BytesOf(layout) + CudaWeights.BytesOf(weights, options.Spec) - CudaWeights.BytesOf(weights, LatentSpec.Dense(_model.LayerCount)),
                PageBytes = [.. PoolKinds.All.Select(layout.PageBytes)],
                ExactPageBytes = layout.ExactPageBytes,
                CacheTokens = layout.TokensIn(_cache.Bytes, length),
                LaneLengths = lanes,
                PrefillChunk = Chunk,
                PacksPrompts = true,
                PrefillCost = PrefillTiming.Measure(_forward, _stream, lanes[0], Chunk),
            };
            StepRehearsal.Run(this);
            (_submitted, _collected, _rehearsed) = (0, 0, _queue.WaitedTicks);
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

    public long WaitedTicks => _queue.WaitedTicks - _rehearsed;

    /// <summary>Why the kernels cannot serve a model; null when they can.</summary>
    public static string? Unsupported(ModelConfig model) =>
        model.HeadSize is not (64 or 128) || model.GroupSize > 8
            ? $"The CUDA backend serves head sizes 64 and 128 with at most 8 query heads a KV head; this model has {model.HeadSize} and {model.GroupSize}."
        : model.HiddenSize % 32 != 0 || model.IntermediateSize % 32 != 0
            ? $"The CUDA backend needs hidden and MLP sizes that are multiples of 32; this model has {model.HiddenSize} and {model.IntermediateSize}."
        : null;

    /// <summary>Why the kernels cannot keep a cache; null when they can.</summary>
    public static string? Unsupported(LatentSpec spec, ModelConfig model) =>
        spec.IsDense ? null
        : spec.LatentFormat is LatentFormat.Float32 or LatentFormat.Int4 ? $"latent_format={LatentSpecParser.NameOf(spec.LatentFormat)}: the CUDA backend keeps latents as bf16 or int8."
        : spec.RotateValues ? "value_rotation=hadamard: the CUDA backend quantises values as they are."
        : spec.ScoreRope && spec.LatentFormat != LatentFormat.Int8 ? "score_rope=bands: the CUDA backend scores bands of int8 latents only."
        : spec.ScoreHeads ? "score_heads=zscore: the CUDA backend scores the sum of all heads."
        : spec.CriticalMass > 0 ? string.Create(CultureInfo.InvariantCulture, $"critical_mass={spec.CriticalMass}: the CUDA backend selects a number of tokens that depends on the length alone.")
        : spec.LayerRanks.Length > 0 ? $"layer_ranks={string.Join(',', spec.LayerRanks)}: the CUDA backend keeps one rank in all layers."
        : spec.Rank % (16 * spec.BasisGroups) != 0 ? $"rank={spec.Rank}: the CUDA backend needs a multiple of 16{Each(spec)}."
        : spec.ScoreRank % (16 * spec.BasisGroups) != 0 ? $"score_rank={spec.ScoreRank}: the CUDA backend needs a multiple of 16{Each(spec)}."
        : spec.ValueBits != 16 && model.HeadSize % spec.ValueGroup != 0 ? $"value_group={spec.ValueGroup}: the CUDA backend needs one that divides the head size {model.HeadSize}."
        : null;

    private static string Each(LatentSpec spec) => spec.BasisGroups == 1 ? "" : $" for each of the basis_groups={spec.BasisGroups}";

    /// <summary>How the memory of a GPU of <paramref name="deviceBytes"/> would be divided; touches no device.</summary>
    public static CudaMemoryPlan PlanMemory(ModelWeights weights, CudaBackendOptions options, long deviceBytes) =>
        new CudaBudget(weights, new PageLayout(weights.Config, options.Spec, ElementType.BFloat16), options, Chunk)
            .Plan((long)(deviceBytes * options.MemoryUtilization) - ContextBytes - CudaBudget.Headroom);

    internal static int[] LaneLengths(int maxModelLength) => [maxModelLength, Math.Min(maxModelLength, ShortLane)];

    /// <summary>For tests that look at or poison cache memory.</summary>
    internal CudaCache Cache => _cache;

    internal CudaStream Stream => _stream;

    /// <summary>Null outside tests; steps run eagerly and wait for every intermediate while it is set.</summary>
    internal IStepProbe? Probe
    {
        get => _forward.Reader.Probe;
        set => _forward.Reader.Probe = value;
    }

    /// <summary>For benches and calibration, which use parts of the forward without steps.</summary>
    internal StepQueue Queue => _queue;

    internal StepArena Arena => _arena;

    internal CudaForward Forward => _forward;

    internal CudaDevice Device { get; }

    /// <summary>What the first run and the capture of every decode step took.</summary>
    internal (double Seconds, long Bytes) WarmUpCost { get; }

    public StepTicket Submit(StepPlan plan)
    {
        ThrowIfFaulted();
        if (_submitted - _collected >= StepQueue.Depth)
        {
            throw new InvalidOperationException($"{StepQueue.Depth} steps are outstanding; collect the oldest first.");
        }

        try
        {
            _queue.Enqueue(plan, (int)(_submitted % StepQueue.Depth));
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

        try
        {
            _queue.Read((int)(_collected % StepQueue.Depth), result);
        }
        catch (CudaException e)
        {
            throw Fault($"The GPU failed in step {ticket.Id}: {e.Message}", e);
        }

        _collected++;
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
        if (!options.Spec.IsDense && options.Basis is null)
        {
            throw new ArgumentException($"The cache settings '{options.Spec.Name}' compress layers and need a basis.", nameof(options));
        }

        if ((Unsupported(model) ?? Unsupported(options.Spec, model)) is { } problem)
        {
            throw new ArgumentException(problem, nameof(options));
        }
    }

    private void Plan(GemmPlanCache plans, LatentSpec spec, int slots)
    {
        var qkv = new GemmShape(_model.QueryWidth + (2 * _model.KeyWidth), _model.HiddenSize, Bias: _model.QueryKeyValueBias);
        GemmShape[] others =
        [
            new(_model.HiddenSize, _model.QueryWidth, Bias: _model.OutputBias),
            new(2 * _model.IntermediateSize, _model.HiddenSize, Bias: _model.MlpBias),
            new(_model.HiddenSize, _model.IntermediateSize, Bias: _model.MlpBias),
        ];
        Array.ForEach([qkv, .. others], plans.Add);
        if (slots <= SkinnyGemmKernel.MaxRows)
        {
            return;
        }

        Array.ForEach([qkv, .. others], shape => plans.Add(shape with { Decode = true }));
        if (!spec.IsDense)
        {
            // decode rows of compressed layers end with a scoring query, which a model that norms its queries adds later
            var row = qkv.N + spec.ScoreRank;
            plans.Add(qkv with { N = _model.QueryKeyNorm ? qkv.N : row, Stride = _model.QueryKeyNorm ? row : 0, Decode = true });
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
