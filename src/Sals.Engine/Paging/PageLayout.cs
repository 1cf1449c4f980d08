using Sals.Engine.Latent;
using Sals.Engine.Models;

namespace Sals.Engine.Paging;

/// <summary>
/// Bytes and offsets of cache pages; pure arithmetic, the same on every backend.
/// All layers of a page lie together. A page id is its offset in the cache arena in units of 4 KiB; 0 means "no page".
/// Dense and hot page, for each of the pool's layers in ascending order: K [P, HK, DH] after rope, then V [P, HK, DH].
/// </summary>
public sealed class PageLayout
{
    /// <summary>P, tokens of a page.</summary>
    public const int PageSize = 64;

    /// <summary>Bytes of one page-id unit.</summary>
    public const int Unit = 4096;

    private readonly int[] _exactIndex;

    public PageLayout(ModelConfig model, LatentSpec spec, ElementType exactType)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(spec.LayerCount, model.LayerCount);
        Spec = spec;
        ExactType = exactType;
        KeyWidth = model.KeyWidth;
        ExactPlaneBytes = checked(PageSize * model.KeyWidth * exactType.Bytes());
        _exactIndex = new int[model.LayerCount];
        var dense = spec.DenseLayers;
        var sparse = spec.SparseLayers;
        for (var i = 0; i < dense.Length; i++)
        {
            _exactIndex[dense[i]] = i;
        }

        for (var i = 0; i < sparse.Length; i++)
        {
            _exactIndex[sparse[i]] = i;
        }

        DensePageBytes = RoundUp((long)dense.Length * 2 * ExactPlaneBytes);
        HotPageBytes = RoundUp((long)sparse.Length * 2 * ExactPlaneBytes);
    }

    public LatentSpec Spec { get; }

    /// <summary>Element type of dense and hot pages.</summary>
    public ElementType ExactType { get; }

    /// <summary>D.</summary>
    public int KeyWidth { get; }

    /// <summary>Bytes of one K or V plane of one layer: P * D * element size.</summary>
    public int ExactPlaneBytes { get; }

    /// <summary>Bytes of a dense page, a multiple of <see cref="Unit"/>; 0 when no layer is dense.</summary>
    public long DensePageBytes { get; }

    /// <summary>Bytes of a hot page, a multiple of <see cref="Unit"/>; 0 when no layer is compressible.</summary>
    public long HotPageBytes { get; }

    /// <summary>Bytes of a page of <paramref name="pool"/>; 0 when the pool does not exist.</summary>
    public long PageBytes(PoolKind pool) => pool switch
    {
        PoolKind.Dense => DensePageBytes,
        PoolKind.Hot => HotPageBytes,
        _ => 0,
    };

    /// <summary>Byte offset of a layer's K plane within its dense or hot page; V follows after <see cref="ExactPlaneBytes"/>.</summary>
    public long KeyOffset(int layer) => (long)_exactIndex[layer] * 2 * ExactPlaneBytes;

    public long ValueOffset(int layer) => KeyOffset(layer) + ExactPlaneBytes;

    private static long RoundUp(long bytes) => (bytes + Unit - 1) / Unit * Unit;
}
