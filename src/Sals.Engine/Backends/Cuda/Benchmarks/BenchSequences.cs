using Sals.Engine.Latent;
using Sals.Engine.Paging;
using Sals.Engine.Sampling;
using Sals.Engine.Scheduling;
using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Kernels.RandomFill;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda.Benchmarks;

/// <summary>
/// Sequences of a given length whose pages hold random numbers, made without a prefill: pages come from the same pools and by the same rules as
/// in the scheduler, and decode steps are planned as there, with one step of look-ahead.
/// </summary>
internal sealed class BenchSequences : IDisposable
{
    private readonly CudaBackend _backend;
    private readonly CachePools _pools;
    private readonly KernelModule _module;
    private readonly RandomFillKernel _fill;
    private readonly List<(SequencePages Pages, int Length)> _sequences = [];
    private readonly StepPlan[] _plans;
    private readonly List<(PoolKind Pool, int Page)>[] _released = [[], []];
    private readonly StepResult _result;
    private StepTicket _pending;
    private int _pendingSet;
    private int _step;
    private bool _ahead;

    public BenchSequences(CudaBackend backend, CudaDevice device, KernelCache kernels)
    {
        _backend = backend;
        _pools = new CachePools(backend.Info);
        _module = new KernelModule(kernels.Get([RandomFillKernel.Program()], device.Architecture)[0]);
        _fill = new RandomFillKernel(_module);
        var info = backend.Info;
        _plans = [.. Enumerable.Range(0, 2).Select(_ => new StepPlan(info.SlotCount, info.MaxModelLength))];
        _result = new StepResult(2 * info.SlotCount);
    }

    /// <summary>Bytes of pages that the sequences hold.</summary>
    public long Bytes => _pools.UsedBytes;

    /// <summary>Adds a sequence of <paramref name="length"/> tokens; false when the cache or the slots are full.</summary>
    /// <param name="maxLength">What it may grow to.</param>
    public bool TryAdd(int length, int maxLength)
    {
        var slot = _sequences.Count;
        var pages = new SequencePages(_pools, _backend.Info.Spec, maxLength);
        if (slot == _backend.Info.SlotCount || !pages.TryAdmit(length, [], 0))
        {
            return false;
        }

        var plan = _plans[0];
        plan.Clear();
        plan.Starts.Add(new SlotStart(slot, new SamplingOptions { Temperature = 0 }, ReadOnlyMemory<int>.Empty));
        var released = new List<(PoolKind Pool, int Page)>();
        if (!pages.TrySend(slot, plan, released))
        {
            throw new InvalidOperationException($"The page table of {length} tokens does not fit a plan.");
        }

        _backend.Collect(_backend.Submit(plan), _result);
        foreach (var kind in PoolKinds.All.Where(kind => _pools[kind].Exists))
        {
            Fill(kind, [.. Enumerable.Range(0, CacheTimeline.PagesOf(length)).Select(i => (uint)pages[kind, i]).Where(page => page != 0)]);
        }

        SetLength(slot, length);
        _sequences.Add((pages, length));
        return true;
    }

    public int Count => _sequences.Count;

    /// <summary>Adds as many sequences as the cache holds at <paramref name="maxLength"/>; returns how many there are.</summary>
    public int Fill(int length, int maxLength)
    {
        var rows = FullBatch.Rows(_backend.Info, length, maxLength);
        while (Count < rows && TryAdd(length, maxLength))
        {
        }

        return Count;
    }

    /// <summary>Submits a step of one token of every sequence, and collects the one before.</summary>
    public void Step()
    {
        var set = _step++ % 2;
        var plan = _plans[set];
        plan.Clear();
        for (var slot = 0; slot < _sequences.Count; slot++)
        {
            var (pages, length) = _sequences[slot];
            if (!pages.TryExtend(length, slot, plan))
            {
                throw new InvalidOperationException("The cache is full: the bench reserved too few pages.");
            }

            pages.Flush(length + 1, slot, plan, _released[set], []);
            plan.Decodes.Add(new DecodeRow(slot));
            _sequences[slot] = (pages, length + 1);
        }

        var ticket = _backend.Submit(plan);
        Collect();
        (_pending, _pendingSet, _ahead) = (ticket, set, true);
    }

    /// <summary>Collects the step in flight.</summary>
    public void Collect()
    {
        if (_ahead)
        {
            _backend.Collect(_pending, _result);
            _ahead = false;
            Free(_released[_pendingSet]);
        }
    }

    /// <summary>
    /// Takes every sequence one token back on the device, so that a graph replayed now repeats the last step. No further: behind a flush a row would
    /// read exact pages that have been given up.
    /// </summary>
    public void RepeatLastStep()
    {
        for (var slot = 0; slot < _sequences.Count; slot++)
        {
            SetLength(slot, _sequences[slot].Length - 1);
        }
    }

    /// <summary>Gives up every sequence.</summary>
    public void Clear()
    {
        Collect();
        Free(_released[0]);
        Free(_released[1]);
        foreach (var (pages, _) in _sequences)
        {
            pages.Release();
        }

        _sequences.Clear();
    }

    public void Dispose() => _module.Dispose();

    private void Free(List<(PoolKind Pool, int Page)> released)
    {
        foreach (var (pool, page) in released)
        {
            _pools.Release(pool, page);
        }

        released.Clear();
    }

    private void SetLength(int slot, int length)
    {
        _backend.Queue.Slots.Lengths[slot] = length;
        _backend.Stream.Upload<int>([length], _backend.Queue.Slots.State.Length + slot);
        _backend.Stream.Upload<int>([slot + 16], _backend.Queue.Slots.State.LastToken + slot);
        _backend.Stream.Synchronize();
    }

    private void Fill(PoolKind kind, uint[] pages)
    {
        if (pages.Length == 0)
        {
            return;
        }

        using var list = new DeviceArena("page list", DeviceArena.SizeOf<uint>(pages.Length));
        var device = list.Take<uint>(pages.Length);
        _backend.Stream.Upload<uint>(pages, device);
        foreach (var plane in Planes(_backend.Cache.Layout, kind))
        {
            _fill.LaunchPages(_backend.Stream, _backend.Cache.Pages, device, pages.Length, plane, seed: 2);
        }

        _backend.Stream.Synchronize();
    }

    private static RandomPlane[] Planes(PageLayout layout, PoolKind kind)
    {
        var layers = kind == PoolKind.Dense ? layout.Spec.DenseLayers.Length : layout.Spec.SparseLayers.Length;
        if (kind == PoolKind.Dense && layout.Spec.DenseInt8)
        {
            // codes of a head whose largest number is some three deviations; peaks of as many
            var peaks = layout.KeyPeakOffset(layout.Spec.DenseLayers[0]);
            return
            [
                new RandomPlane(0, layout.DensePlaneBytes, layout.DensePlaneBytes, 2 * layers, RandomContent.Int8, 127f / 3),
                new RandomPlane(peaks, layout.PeakPlaneBytes, layout.PeakPlaneBytes, 2 * layers, RandomContent.Peaks, 1),
            ];
        }

        if (kind != PoolKind.Latent)
        {
            return [new RandomPlane(0, layout.ExactPlaneBytes, layout.ExactPlaneBytes, 2 * layers, RandomContent.Bfloat16, 1)];
        }

        var first = layout.Spec.SparseLayers[0];
        var codes = layout.Spec.LatentFormat.IsCoded();
        var (content, scale) = codes ? (RandomContent.Int8, 127f / 6) : (RandomContent.Bfloat16, 1f);
        return
        [
            new RandomPlane(layout.ScoreOffset(first), layout.LatentLayerBytes, layout.ScorePlaneBytes, layers, content, scale),
            new RandomPlane(layout.RestOffset(first), layout.LatentLayerBytes, layout.RestPlaneBytes, layers, content, scale),
            new RandomPlane(layout.ValueCodeOffset(first), layout.LatentLayerBytes, PageLayout.PageSize * layout.ValueRowBytes, layers, RandomContent.Bits, 1),
            new RandomPlane(layout.ValueScaleOffset(first), layout.LatentLayerBytes, PageLayout.PageSize * layout.ValueScaleRowBytes, layers, RandomContent.Scales, 1),
        ];
    }
}
