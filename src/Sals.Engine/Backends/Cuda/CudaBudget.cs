using System.Globalization;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>How a GPU's memory would be divided, if nobody else used it.</summary>
/// <param name="WorkBytes">Slots, prefill lanes, activations and bases.</param>
/// <param name="MaxModelLength">Tokens of the longest sequence, shortened if that is allowed.</param>
/// <param name="Fits">Whether one such sequence can be served.</param>
public sealed record CudaMemoryPlan(long WeightBytes, long WorkBytes, long CacheBytes, int MaxModelLength, bool Fits);

/// <summary>
/// How the device's memory is divided, before any of it is taken: weights, slots and activations are fixed by the options and the longest sequence,
/// pages get the rest, and one sequence of the longest length must always fit.
/// </summary>
internal sealed class CudaBudget
{
    /// <summary>Left to the driver and the libraries: modules, graphs, handles.</summary>
    public const long Headroom = 256L << 20;

    private readonly ModelWeights _weights;
    private readonly PageLayout _layout;
    private readonly CudaBackendOptions _options;
    private readonly int _chunk;

    /// <param name="chunk">Tokens of a prefill chunk.</param>
    public CudaBudget(ModelWeights weights, PageLayout layout, CudaBackendOptions options, int chunk)
    {
        _weights = weights;
        _layout = layout;
        _options = options;
        _chunk = chunk;
    }

    /// <summary>Scattered words of a step at most: every page-table entry that may change, and lengths.</summary>
    public static int Words(int slots, int maxModelLength) => (PoolKinds.Count * 2 * (CudaCache.PagesOf(maxModelLength) + slots)) + 1024 + (2 * slots);

    /// <summary>The longest sequence, at most the options', that fits beside everything else; the options' own when none does or shortening is not allowed.</summary>
    /// <param name="free">Device memory that may still be taken in all.</param>
    public int MaxModelLength(long free)
    {
        if (!_options.ShortenToFit || Fits(_options.MaxModelLength, free))
        {
            return _options.MaxModelLength;
        }

        var pages = 0;
        for (var step = 1 << 20; step > 0; step /= 2)
        {
            var length = (pages + step) * (long)PageLayout.PageSize;
            if (length < _options.MaxModelLength && Fits((int)length, free))
            {
                pages += step;
            }
        }

        return pages == 0 ? _options.MaxModelLength : pages * PageLayout.PageSize;
    }

    /// <summary>What may still be taken on a device, the utilization and other processes considered.</summary>
    public static long Free(CudaDevice device, CudaBackendOptions options)
    {
        var free = device.FreeBytes;
        var others = device.MemoryBytes - free;
        return Math.Min(free, (long)(device.MemoryBytes * options.MemoryUtilization) - others) - Headroom;
    }

    /// <summary>What would be taken of <paramref name="free"/> bytes.</summary>
    public CudaMemoryPlan Plan(long free)
    {
        var length = MaxModelLength(free);
        var weights = CudaWeights.BytesOf(_weights, _layout.Spec);
        var work = FixedBytes(length) - weights;
        return new CudaMemoryPlan(weights, work, _options.CacheBytes ?? Math.Max(0, free - weights - work), length, Fits(length, free));
    }

    /// <summary>Throws unless weights, activations and the cache of one sequence fit, before any of them is taken.</summary>
    /// <exception cref="CudaException">They do not: the message says what each needs, what there is, and which settings change that.</exception>
    public void Require(CudaDevice device, long free, int maxModelLength)
    {
        var weights = CudaWeights.BytesOf(_weights, _layout.Spec);
        var work = FixedBytes(maxModelLength) - weights;
        var rest = free - weights - work;
        var sequence = Needed(maxModelLength, Math.Max(1, rest)).Bytes;
        var cache = Math.Max(_options.CacheBytes ?? 0, sequence);
        if (cache <= rest)
        {
            return;
        }

        var others = device.MemoryBytes - device.FreeBytes;
        throw CudaException.TooLittleMemory(string.Create(CultureInfo.InvariantCulture,
            $"Out of memory on {device.Name}: weights {Gib(weights)}, {_options.Slots} slots (--max-num-seqs) and prefill lanes {Gib(work)}, cache {Gib(cache)}"
            + $"{(cache > sequence ? " (--kv-cache-memory-bytes)" : $" for one sequence of {maxModelLength:#,0} tokens (--max-model-len)")}: {Gib(weights + work + cache)} in all. "
            + $"There are {Gib(Math.Max(0, free))}: --gpu-memory-utilization {_options.MemoryUtilization:0.##} of {Gib(device.MemoryBytes)}, of which {Gib(others)} are already in use. "
            + $"Lower --max-model-len or --max-num-seqs, raise --gpu-memory-utilization, end other processes on this GPU, or give it a smaller model."));

        static string Gib(long bytes) => string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1L << 30):0.0} GiB");
    }

    /// <summary>Slab and bytes of the cache.</summary>
    /// <param name="free">Device memory left for it.</param>
    /// <exception cref="CudaException">One sequence does not fit.</exception>
    public (long Slab, long Bytes) Cache(CudaDevice device, long free, int maxModelLength)
    {
        var wanted = _options.CacheBytes ?? Math.Max(0, free);
        var (slab, needed) = Needed(maxModelLength, wanted);
        return wanted >= needed
            ? (slab, wanted / slab * slab)
            : throw new CudaException(
                $"The cache of one sequence of {maxModelLength} tokens needs {needed:N0} bytes; {wanted:N0} are left of {device.MemoryBytes:N0} on {device.Name} "
                    + "(--kv-cache-memory-bytes, --gpu-memory-utilization). Lower --max-model-len or --max-num-seqs, or give the cache more.");
    }

    private bool Fits(int length, long free)
    {
        var rest = free - FixedBytes(length);
        var wanted = _options.CacheBytes ?? rest;
        return wanted <= rest && wanted > 0 && wanted >= Needed(length, wanted).Bytes;
    }

    private long FixedBytes(int length) =>
        CudaWeights.BytesOf(_weights, _layout.Spec)
        + CudaSlots.Bytes(_options.Slots, _weights.Config.VocabularySize)
        + StepArena.Bytes(
            _weights.Config, _options.Slots, CudaCache.PagesOf(length), _chunk, CudaBackend.LaneLengths(length), Words(_options.Slots, length),
            _layout.Spec.ScoreRank)
        + SparseBytes(length);

    private long SparseBytes(int length) => _layout.Spec.IsDense
        ? 0
        : CudaBasis.BytesOf(_layout) + SparseArena.Bytes(CudaSparse.ShapeOf(_weights.Config, _layout.Spec, length), _options.Slots);

    /// <summary>Page 0's slab, and for each pool the most that one sequence holds on its way, in whole slabs: pools share none.</summary>
    private (long Slab, long Bytes) Needed(int length, long wanted)
    {
        var slab = _layout.SlabBytes(Math.Max(1, wanted));
        var slabs = 1L;
        foreach (var pool in PoolKinds.All)
        {
            var perSlab = _layout.PageBytes(pool) > 0 ? slab / _layout.PageBytes(pool) : 1;
            slabs += (_layout.PeakPages(pool, length) + perSlab - 1) / perSlab;
        }

        return (slab, slabs * slab);
    }
}
