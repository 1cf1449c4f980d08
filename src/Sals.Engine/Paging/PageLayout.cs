using Sals.Engine.Latent;
using Sals.Engine.Models;

namespace Sals.Engine.Paging;

/// <summary>
/// Bytes and offsets of cache pages; pure arithmetic, the same on every backend.
/// All layers of a page lie together. A page id is its offset in the cache arena in units of 4 KiB; 0 means "no page".
/// Dense and hot page, for each of the pool's layers in ascending order: K [P, HK, DH] after rope, then V [P, HK, DH].
/// Dense page with int8 codes: for each layer K codes [P, HK, DH] int8, then V codes; behind those of all layers, for each layer K peaks [HK, P] bf16, then
/// V peaks. What they mean: <c>HeadCodes</c>.
/// Latent page, for each compressed layer in ascending order, row t = token t of the page, rows without padding:
/// score plane [P, RS] and rest plane [P, R - RS] of the latent key (float32, bf16, int8 or int4), value codes [P, D * bits / 8] packed as
/// <c>ValueQuantizer</c> says, value scales [P, D / group] of (fp16 scale, fp16 zero). With 16 value bits the codes are fp16 values and there are no scales.
/// Each plane begins at a multiple of 64 bytes. Where ranks differ by layer, so do the rest planes.
/// </summary>
public sealed class PageLayout
{
    /// <summary>P, tokens of a page.</summary>
    public const int PageSize = 64;

    /// <summary>Bytes of one page-id unit.</summary>
    public const int Unit = 4096;

    private readonly int[] _poolIndex;
    private readonly bool[] _isDense;
    private readonly long _peaks;
    private readonly int[] _restBytes;
    private readonly long[] _latentOffsets;

    public PageLayout(ModelConfig model, LatentSpec spec, ElementType exactType)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(spec.LayerCount, model.LayerCount);
        Spec = spec;
        ExactType = exactType;
        KeyWidth = model.KeyWidth;
        HeadSize = model.HeadSize;
        ExactPlaneBytes = checked(PageSize * model.KeyWidth * exactType.Bytes());
        _poolIndex = new int[model.LayerCount];
        _isDense = new bool[model.LayerCount];
        _restBytes = new int[model.LayerCount];
        _latentOffsets = new long[model.LayerCount];
        var dense = spec.DenseLayers;
        var sparse = spec.SparseLayers;
        for (var i = 0; i < dense.Length; i++)
        {
            _poolIndex[dense[i]] = i;
            _isDense[dense[i]] = true;
        }

        for (var i = 0; i < sparse.Length; i++)
        {
            _poolIndex[sparse[i]] = i;
        }

        DensePlaneBytes = spec.DenseInt8 ? checked(PageSize * model.KeyWidth) : ExactPlaneBytes;
        PeakPlaneBytes = spec.DenseInt8 ? PageSize * model.KeyValueHeadCount * sizeof(ushort) : 0;
        DenseLayerBytes = checked(2 * (DensePlaneBytes + PeakPlaneBytes));
        _peaks = 2L * dense.Length * DensePlaneBytes;
        ExactPageBytes = RoundUp((long)model.LayerCount * 2 * ExactPlaneBytes);
        DensePageBytes = RoundUp((long)dense.Length * DenseLayerBytes);
        HotPageBytes = RoundUp((long)sparse.Length * 2 * ExactPlaneBytes);
        if (sparse.Length == 0)
        {
            return;
        }

        var bits = spec.LatentFormat.Bits();
        ScorePlaneBytes = checked(PageSize / 8 * spec.ScoreRank * bits);
        RestPlaneBytes = checked(PageSize / 8 * (spec.Rank - spec.ScoreRank) * bits);
        ValueRowBytes = model.KeyWidth * spec.ValueBits / 8;
        ValueScaleRowBytes = spec.ValueBits == 16 ? 0 : model.KeyWidth / spec.ValueGroup * 4;
        LatentLayerBytes = checked(ScorePlaneBytes + RestPlaneBytes + PageSize * (ValueRowBytes + ValueScaleRowBytes));
        var bytes = 0L;
        for (var i = 0; i < sparse.Length; i++)
        {
            var layer = sparse[i];
            _restBytes[layer] = spec.LayerRanks.Length > 0 ? checked(PageSize / 8 * (spec.LayerRanks[i] - spec.ScoreRank) * bits) : RestPlaneBytes;
            _latentOffsets[layer] = bytes;
            bytes += LatentBytes(layer);
        }

        LatentPageBytes = RoundUp(bytes);
        MeanLatentLayerBytes = (double)bytes / sparse.Length;
    }

    public LatentSpec Spec { get; }

    /// <summary>Element type of hot pages, and of dense ones unless those are int8.</summary>
    public ElementType ExactType { get; }

    /// <summary>D.</summary>
    public int KeyWidth { get; }

    /// <summary>DH.</summary>
    public int HeadSize { get; }

    /// <summary>Bytes of one K or V plane of one layer, kept exactly: P * D * element size.</summary>
    public int ExactPlaneBytes { get; }

    /// <summary>Bytes of one K or V plane of one layer in a dense page: P * D of int8 codes, or <see cref="ExactPlaneBytes"/>.</summary>
    public int DensePlaneBytes { get; }

    /// <summary>Bytes of the peaks of one K or V plane in a dense page: 2 * P * HK with int8 codes, else 0.</summary>
    public int PeakPlaneBytes { get; }

    /// <summary>Bytes of one layer in a dense page, codes and peaks.</summary>
    public int DenseLayerBytes { get; }

    /// <summary>Bytes that 64 tokens of all layers would take if everything were exact, in whole units.</summary>
    public long ExactPageBytes { get; }

    /// <summary>Bytes of a dense page, a multiple of <see cref="Unit"/>; 0 when no layer is dense.</summary>
    public long DensePageBytes { get; }

    /// <summary>Bytes of a hot page, a multiple of <see cref="Unit"/>; 0 when no layer is compressible.</summary>
    public long HotPageBytes { get; }

    /// <summary>Bytes of a latent page, a multiple of <see cref="Unit"/>; 0 when no layer is compressible.</summary>
    public long LatentPageBytes { get; }

    /// <summary>Bytes of one layer in a latent page; the layer of largest rank where ranks differ.</summary>
    public int LatentLayerBytes { get; }

    /// <summary>Bytes of one layer in a latent page, mean over the compressed layers; 0 when there are none.</summary>
    public double MeanLatentLayerBytes { get; }

    /// <summary>Bytes of a latent token over those of an exact one, mean over the compressed layers; 1 when there are none.</summary>
    public double LayerRatio => Spec.IsDense ? 1 : MeanLatentLayerBytes / (2.0 * ExactPlaneBytes);

    /// <summary>The same over all layers, dense ones included: the limit that long sequences approach.</summary>
    public double ModelRatio => (double)(DensePageBytes + LatentPageBytes) / ExactPageBytes;

    /// <summary>Bytes of the plane [P, RS] of leading latent coordinates, all that scoring reads.</summary>
    public int ScorePlaneBytes { get; }

    /// <summary>Bytes of the plane [P, R - RS] of the other latent coordinates; of the layer of largest rank where ranks differ.</summary>
    public int RestPlaneBytes { get; }

    /// <summary>Bytes of one token's value codes: D * bits / 8.</summary>
    public int ValueRowBytes { get; }

    /// <summary>Bytes of one token's value scales and zeros: 4 * D / group; 0 with 16 value bits.</summary>
    public int ValueScaleRowBytes { get; }

    /// <summary>Bytes of a page of <paramref name="pool"/>; 0 when the pool does not exist.</summary>
    public long PageBytes(PoolKind pool) => pool switch
    {
        PoolKind.Dense => DensePageBytes,
        PoolKind.Hot => HotPageBytes,
        _ => LatentPageBytes,
    };

    /// <summary>Byte offset of a layer's K plane within its dense or hot page; V follows at once.</summary>
    public long KeyOffset(int layer) => (long)_poolIndex[layer] * 2 * (_isDense[layer] ? DensePlaneBytes : ExactPlaneBytes);

    public long ValueOffset(int layer) => KeyOffset(layer) + (_isDense[layer] ? DensePlaneBytes : ExactPlaneBytes);

    /// <summary>Whether a layer's keys and values are int8 codes in its dense pages.</summary>
    public bool IsCoded(int layer) => Spec.DenseInt8 && _isDense[layer];

    /// <summary>Byte offset of the peaks of a dense layer's int8 keys; those of its values follow after <see cref="PeakPlaneBytes"/>.</summary>
    public long KeyPeakOffset(int layer) => _peaks + ((long)_poolIndex[layer] * 2 * PeakPlaneBytes);

    public long ValuePeakOffset(int layer) => KeyPeakOffset(layer) + PeakPlaneBytes;

    /// <summary>Bytes of a compressed layer's plane [P, R - RS] in a latent page, R its own.</summary>
    public int RestBytes(int layer) => _restBytes[layer];

    /// <summary>Bytes of a compressed layer in a latent page.</summary>
    public int LatentBytes(int layer) => LatentLayerBytes - RestPlaneBytes + _restBytes[layer];

    /// <summary>Byte offset of a compressed layer's score plane within its latent page; the layer's other planes follow.</summary>
    public long ScoreOffset(int layer) => _latentOffsets[layer];

    public long RestOffset(int layer) => ScoreOffset(layer) + ScorePlaneBytes;

    public long ValueCodeOffset(int layer) => RestOffset(layer) + _restBytes[layer];

    public long ValueScaleOffset(int layer) => ValueCodeOffset(layer) + PageSize * (long)ValueRowBytes;

    /// <summary>Bytes of cache a sequence of <paramref name="length"/> tokens occupies in whole pages, see <see cref="CacheTimeline.PageCount"/>.</summary>
    public long SequenceBytes(PoolKind pool, int length) => PageBytes(pool) * CacheTimeline.PageCount(pool, length, Spec);

    /// <inheritdoc cref="CacheTimeline.HeldPages"/>
    public int HeldPages(PoolKind pool, int length, int maxLength) => CacheTimeline.HeldPages(pool, length, maxLength, Spec);

    /// <summary>
    /// Size of the slabs that a cache of <paramref name="cacheBytes"/> is cut into, a power of two: 32 MiB, less where a small cache would otherwise be
    /// a few slabs that three pools cannot share, more where huge pages would waste over a tenth of each slab.
    /// </summary>
    public long SlabBytes(long cacheBytes)
    {
        const long usual = 32L << 20;
        const int fewest = 32;
        var largest = PoolKinds.All.Max(PageBytes);
        var slab = usual;
        while (slab > 64 * Unit && cacheBytes / slab < fewest && slab / 2 >= 4 * largest)
        {
            slab /= 2;
        }

        while (slab < largest || (slab < 8 * usual && PoolKinds.All.Any(kind => PageBytes(kind) > 0 && slab % PageBytes(kind) * 10 > slab)))
        {
            slab *= 2;
        }

        return slab;
    }

    /// <summary>
    /// Most bytes of cache that one sequence holds on its way to <paramref name="length"/> tokens: exact pages of the dense layers; of the others the hot
    /// pages, which are most just before compression begins, and the latent page that is reserved beside each page that may ever be flushed.
    /// </summary>
    public long PeakBytes(int length) => PoolKinds.All.Sum(pool => PeakPages(pool, length) * PageBytes(pool));

    /// <summary>Most pages of a pool that one sequence holds on its way to <paramref name="length"/> tokens, as in <see cref="PeakBytes"/>.</summary>
    public long PeakPages(PoolKind pool, int length)
    {
        var flushes = CacheTimeline.LatentPages(length, Spec) > 0;
        switch (pool)
        {
            case PoolKind.Dense:
                return DensePageBytes > 0 ? CacheTimeline.PagesOf(length) : 0;
            case PoolKind.Latent:
                return flushes ? CacheTimeline.PagesOf(length) : 0;
            default:
                var exact = Math.Min(length, Math.Max(Spec.DenseBelow, 1));
                // one page more than the window: the new one is taken before the oldest is flushed
                return Spec.IsDense ? 0 : Math.Max(CacheTimeline.PageCount(PoolKind.Hot, length, Spec), CacheTimeline.PagesOf(exact)) + (flushes ? 1 : 0);
        }
    }

    /// <summary>Tokens that <paramref name="cacheBytes"/>, less page 0, keep in sequences of <paramref name="length"/> tokens.</summary>
    public long TokensIn(long cacheBytes, int length) => Math.Max(0, cacheBytes - PoolKinds.All.Max(PageBytes)) * length / PeakBytes(length);

    private static long RoundUp(long bytes) => (bytes + Unit - 1) / Unit * Unit;
}
