using System.Diagnostics;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Scheduling;

namespace Sals.Engine.Backends.Cpu;

/// <summary>
/// The readable backend, and the default without a GPU. Submit runs the step to its end; Collect hands over what it sampled.
/// Weights are packed at construction, after which the <see cref="ModelWeights"/> may be disposed.
/// </summary>
public sealed class CpuBackend : IStepBackend, ICalibrationBackend
{
    /// <summary>Capacity of the second lane, for prompts that need not wait behind a long one.</summary>
    private const int ShortLane = 16384;

    /// <summary>Small enough that a slice beside decode rows stays within a few milliseconds of a small model.</summary>
    private const int Chunk = 64;

    private readonly ModelConfig _model;
    private readonly WorkerTeam _team;
    private readonly CpuWeights _weights;
    private readonly CpuCache _cache;
    private readonly CpuForward _forward;
    private readonly CpuSparse? _sparse;
    private readonly CpuSlot[] _slots;
    private readonly CpuSampler _sampler;
    private readonly CpuRow[] _rows;
    private readonly SampledRow[] _sampled;

    // two tickets may be outstanding
    private readonly StepResult[] _results;

    private long _submitted;
    private long _collected;
    private EngineFaultException? _fault;

    /// <exception cref="ArgumentException">An option does not fit the model.</exception>
    public CpuBackend(ModelWeights weights, CpuBackendOptions options)
    {
        _model = weights.Config;
        ArgumentOutOfRangeException.ThrowIfLessThan(options.Slots, 1);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.MaxModelLength, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(options.MaxModelLength, _model.MaxModelLength);
        ArgumentOutOfRangeException.ThrowIfLessThan(options.CacheBytes, 1);
        if (!options.Spec.IsDense && options.Basis is null)
        {
            throw new ArgumentException($"The cache settings '{options.Spec.Name}' compress layers and need a basis.", nameof(options));
        }

        var sampleable = options.SampleableVocabulary ?? _model.VocabularySize;
        ArgumentOutOfRangeException.ThrowIfLessThan(sampleable, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(sampleable, _model.VocabularySize);
        var layout = new PageLayout(_model, options.Spec, ElementType.Float32);
        _team = new WorkerTeam(options.Threads);
        _weights = new CpuWeights(_team, weights);
        _cache = new CpuCache(layout, options.Slots, options.MaxModelLength, options.CacheBytes);
        CpuLane[] lanes = [new(_model, options.MaxModelLength), new(_model, Math.Min(options.MaxModelLength, ShortLane))];
        var rope = new RopeTable(_model.Rope, _model.HeadSize, options.MaxModelLength);
        _sparse = options.Spec.IsDense ? null : new CpuSparse(weights, options.Basis!, rope, _cache, _team, options.Slots);
        _forward = new CpuForward(_model, _weights, rope, _cache, _team, lanes, options.Slots, _sparse);
        _slots = [.. Enumerable.Range(0, options.Slots).Select(_ => new CpuSlot(_model.VocabularySize))];
        _sampler = new CpuSampler(_team, _forward, _slots, _model.VocabularySize, sampleable);
        _rows = new CpuRow[options.Slots];
        _sampled = new SampledRow[options.Slots];
        _results = [new StepResult(options.Slots), new StepResult(options.Slots)];
        Info = new BackendInfo
        {
            Name = "cpu",
            VocabularySize = _model.VocabularySize,
            LayerCount = _model.LayerCount,
            SlotCount = options.Slots,
            MaxModelLength = options.MaxModelLength,
            LookAhead = 0,
            CacheBytes = _cache.Bytes,
            SlabBytes = _cache.SlabBytes,
            CacheTokens = layout.TokensIn(_cache.Bytes, options.MaxModelLength),
            Spec = options.Spec,
            BasisBytes = _sparse?.BasisBytes ?? 0,
            PageBytes = [.. PoolKinds.All.Select(layout.PageBytes)],
            ExactPageBytes = layout.ExactPageBytes,
            LaneLengths = [.. lanes.Select(l => l.Length)],
            PrefillChunk = Chunk,
            PrefillCost = CpuPrefillTiming.Measure(_forward, _weights, Chunk),
        };
    }

    public BackendInfo Info { get; }

    /// <summary>Bytes in use, for the memory budget that is printed at start.</summary>
    public CpuMemory Memory => new(_weights.Bytes, _forward.Lanes.Sum(l => l.Bytes), _forward.Bytes + (_sparse?.Bytes ?? 0), _cache.AllocatedBytes);

    /// <summary>Bytes of weights that one decode step reads, whatever its rows.</summary>
    public long DecodeWeightBytes => _weights.DecodeBytes;

    /// <summary>Where prompts are shared with other backends of the same weights; set before the first step. Null = nowhere.</summary>
    public PrefillShare? Share
    {
        get => _forward.Share;
        set => _forward.Share = value;
    }

    /// <summary>For tests that poison pages.</summary>
    internal CpuCache Cache => _cache;

    /// <summary>Null outside tests.</summary>
    internal IStepProbe? Probe
    {
        get => _forward.Probe;
        set => _forward.Probe = value;
    }

    /// <summary>Bytes of a cache page, for tests.</summary>
    internal ReadOnlySpan<byte> CachePage(PoolKind pool, int page) => _cache.Page(pool, page);

    public StepTicket Submit(StepPlan plan)
    {
        if (_fault is not null)
        {
            throw _fault;
        }

        if (_submitted - _collected >= _results.Length)
        {
            throw new InvalidOperationException($"{_results.Length} steps are outstanding; collect the oldest first.");
        }

        try
        {
            Run(plan, _results[_submitted % _results.Length]);
        }
        catch (Exception e)
        {
            _fault = new EngineFaultException($"The CPU backend failed in step {_submitted + 1}: {e.Message}", e);
            throw _fault;
        }

        return new StepTicket(++_submitted);
    }

    public void Collect(StepTicket ticket, StepResult result)
    {
        if (_fault is not null)
        {
            throw _fault;
        }

        if (ticket.Id != _collected + 1 || ticket.Id > _submitted)
        {
            throw new InvalidOperationException($"Step {ticket.Id} cannot be collected; the next is {_collected + 1} and {_submitted} were submitted.");
        }

        var source = _results[_collected++ % _results.Length];
        result.Count = source.Count;
        result.PrefillMilliseconds = source.PrefillMilliseconds;
        Array.Copy(source.Slots, result.Slots, source.Count);
        Array.Copy(source.Tokens, result.Tokens, source.Count);
        Array.Copy(source.LogProbabilities, result.LogProbabilities, source.Count);
        Array.Copy(source.TargetLogProbabilities, result.TargetLogProbabilities, source.Count);
        Array.Copy(source.TopIds, result.TopIds, source.Count * StepResult.MaxTop);
        Array.Copy(source.TopLogProbabilities, result.TopLogProbabilities, source.Count * StepResult.MaxTop);
        Array.Copy(source.SparseLayers, result.SparseLayers, source.Count);
        Array.Copy(source.ScoredLayers, result.ScoredLayers, source.Count);
        Array.Copy(source.SelectedTokens, result.SelectedTokens, source.Count);
    }

    public int MaxCalibrationLength => _forward.Lanes[0].Length;

    public void AccumulateKeyCovariance(ReadOnlySpan<int> tokens, CovarianceSet keys)
    {
        int queryWidth = _model.QueryWidth, width = queryWidth + _model.KeyWidth;
        var block = Array.Empty<float>();
        Visit(tokens, (layer, _, rows) =>
        {
            var count = rows.Length / width;
            Array.Resize(ref block, count * _model.KeyWidth);
            for (var t = 0; t < count; t++)
            {
                rows.Slice((t * width) + queryWidth, _model.KeyWidth).CopyTo(block.AsSpan(t * _model.KeyWidth));
            }

            keys.Add(layer, block);
        });
    }

    public void AccumulateQueries(ReadOnlySpan<int> tokens, QueryMoments queries)
    {
        var width = _model.QueryWidth + _model.KeyWidth;
        Visit(tokens, (layer, _, rows) =>
        {
            for (var at = 0; at < rows.Length; at += width)
            {
                queries.Add(layer, rows.Slice(at, _model.QueryWidth));
            }
        });
    }

    /// <summary>Runs one sequence through all layers and shows each layer's queries and keys before rope (after bias and norm), in order of position.</summary>
    /// <param name="tokens">1 .. <see cref="MaxCalibrationLength"/> ids.</param>
    public void Visit(ReadOnlySpan<int> tokens, QueryKeyVisitor visitor)
    {
        ArgumentOutOfRangeException.ThrowIfGreaterThan(tokens.Length, MaxCalibrationLength);
        _forward.Visit(tokens, visitor);
    }

    public int SequenceGroup => 1;

    public void CollectKeyCovariance(CovarianceSet keys)
    {
        // every key is in the set already
    }

    public SymmetricEigen Decompose(double[] matrix, int size) => SymmetricEigen.Of(matrix, size);

    public void Dispose() => _team.Dispose();

    private void Run(StepPlan plan, StepResult result)
    {
        foreach (var start in plan.Starts.Items)
        {
            _slots[start.Slot].Start(start);
            _cache.ClearTables(start.Slot);
        }

        foreach (var edit in plan.Edits.Items)
        {
            _cache.Apply(edit);
        }

        foreach (var copy in plan.Copies.Items)
        {
            _cache.Copy(copy);
        }

        if (plan.Flushes.Count > 0)
        {
            (_sparse ?? throw new InvalidOperationException("A flush was planned, but no layer is compressed.")).Flush(plan);
        }

        var finals = Decode(plan);
        var sampled = finals;
        var started = Stopwatch.GetTimestamp();
        foreach (ref readonly var slice in plan.Prefills.Items)
        {
            if (!_forward.Prefill(slice, finals))
            {
                continue;
            }

            foreach (var slot in slice.Slots)
            {
                _slots[slot].Length = slice.PromptLength;
                if (slice.Samples)
                {
                    _sampled[sampled++] = new SampledRow(slot, finals, slice.TargetToken);
                }
            }

            finals += slice.Samples ? 1 : 0;
        }

        result.PrefillMilliseconds = plan.Prefills.Count > 0 ? Stopwatch.GetElapsedTime(started).TotalMilliseconds : 0;
        Sample(plan, finals, sampled, result);
    }

    /// <summary>Decode rows take the first final rows; returns their number.</summary>
    private int Decode(StepPlan plan)
    {
        var count = plan.Decodes.Count;
        for (var r = 0; r < count; r++)
        {
            var row = plan.Decodes[r];
            var slot = _slots[row.Slot];
            var token = row.ForcedToken >= 0 ? row.ForcedToken : slot.LastToken;
            slot.CountOutput(token);
            _rows[r] = new CpuRow(row.Slot, token, slot.Length++);
            _sampled[r] = new SampledRow(row.Slot, r, row.TargetToken);
        }

        if (count > 0)
        {
            _forward.Decode(_rows, count);
        }

        return count;
    }

    private void Sample(StepPlan plan, int finals, int sampled, StepResult result)
    {
        result.Count = sampled;
        for (var i = 0; i < sampled; i++)
        {
            var decoded = _sparse is not null && i < plan.Decodes.Count;
            result.SparseLayers[i] = decoded ? _sparse!.Selection.SparseLayers[i] : 0;
            result.SelectedTokens[i] = decoded ? _sparse!.Selection.SelectedTokens[i] : 0;
            result.ScoredLayers[i] = decoded ? _sparse!.Selection.ScoredLayers[i] : 0;
        }

        if (finals == 0)
        {
            return;
        }

        _forward.ComputeLogits(finals);
        for (var i = 0; Probe is not null && i < sampled; i++)
        {
            Probe.Publish("logits", _sampled[i].Slot, _slots[_sampled[i].Slot].Length - 1, _forward.Logits(_sampled[i].FinalRow));
        }

        _sampler.Run(plan, _sampled, sampled, result);
    }
}
