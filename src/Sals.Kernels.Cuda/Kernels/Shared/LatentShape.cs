namespace Sals.Kernels.Cuda.Kernels.Shared;

/// <summary>
/// Constants of the compressed cache that its kernels are compiled with: the model's head sizes and the cache settings, all layers alike.
/// The kernels' arithmetic on lengths (<c>timeline.cuh</c>) and pages follows them.
/// </summary>
public sealed record LatentShape
{
    /// <summary>DH, 64 or 128.</summary>
    public required int HeadSize { get; init; }

    /// <summary>HQ</summary>
    public required int QueryHeads { get; init; }

    /// <summary>HK</summary>
    public required int KeyHeads { get; init; }

    /// <summary>MAXP, entries of a page table row.</summary>
    public required int MaxPages { get; init; }

    /// <summary>R, a multiple of 16 for each group.</summary>
    public required int Rank { get; init; }

    /// <summary>RS, a multiple of 16 for each group, at most R.</summary>
    public required int ScoreRank { get; init; }

    /// <summary>BASIS_GROUPS: groups of consecutive KV heads with a basis of their own, a divisor of HK. Each has its share of either plane of a latent.</summary>
    public int BasisGroups { get; init; } = 1;

    /// <summary>SINK, 0..64.</summary>
    public required int SinkTokens { get; init; }

    /// <summary>RECENT, at least 1.</summary>
    public required int RecentTokens { get; init; }

    /// <summary>SPARSITY: length / SPARSITY tokens are selected, then clamped.</summary>
    public required int Sparsity { get; init; }

    /// <summary>CRIT_MIN</summary>
    public required int CriticalMin { get; init; }

    /// <summary>CRIT_MAX</summary>
    public required int CriticalMax { get; init; }

    /// <summary>DENSE_BELOW: sequences of at most this many tokens are read exactly.</summary>
    public required int DenseBelow { get; init; }

    /// <summary>VALUE_BITS: 2, 3, 4 or 16.</summary>
    public required int ValueBits { get; init; }

    /// <summary>VALUE_GROUP, a multiple of 32 that divides D.</summary>
    public required int ValueGroup { get; init; }

    /// <summary>LATENT_INT8: latents are int8 codes, else bf16.</summary>
    public required bool Int8 { get; init; }

    /// <summary>BANDS: scoring queries of a row, one for each band of distance, at most; 0 = one without rope. With int8 latents only.</summary>
    public int ScoreBands { get; init; }

    /// <summary>YMAX, row stride of the selected positions: most that any length selects, rounded up to 32.</summary>
    public required int SelectedStride { get; init; }

    /// <summary>D</summary>
    public int KeyWidth => HeadSize * KeyHeads;

    /// <summary>RG, coordinates of one group.</summary>
    public int GroupRank => Rank / BasisGroups;

    /// <summary>All of it as -D constants.</summary>
    public (string Name, long Value)[] Defines() =>
    [
        ("DH", HeadSize),
        ("HQ", QueryHeads),
        ("HK", KeyHeads),
        ("MAXP", MaxPages),
        ("R", Rank),
        ("RS", ScoreRank),
        ("BASIS_GROUPS", BasisGroups),
        ("SINK", SinkTokens),
        ("RECENT", RecentTokens),
        ("SPARSITY", Sparsity),
        ("CRIT_MIN", CriticalMin),
        ("CRIT_MAX", CriticalMax),
        ("DENSE_BELOW", DenseBelow),
        ("VALUE_BITS", ValueBits),
        ("VALUE_GROUP", ValueGroup),
        ("LATENT_INT8", Int8 ? 1 : 0),
        ("BANDS", ScoreBands),
        ("YMAX", SelectedStride),
    ];
}
