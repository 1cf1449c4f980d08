namespace Sals.Engine.Latent;

/// <summary>
/// Which layers keep exact keys and values, which are compressed and how, and how many tokens a compressed layer attends to.
/// This is all the cache settings there are, resolved for one model; both backends and the scheduler read the same record.
/// Made by <see cref="LatentSpecParser"/>, which checks every value. Paper: SALS (arXiv 2510.24273), sections 3 and 4.
/// </summary>
public sealed record LatentSpec
{
    /// <summary>Nothing is compressed: every layer is a dense layer and only the dense pool exists.</summary>
    public static LatentSpec Dense(int layerCount) => new() { Name = "dense", DenseLayers = [.. Enumerable.Range(0, layerCount)], LayerCount = layerCount };

    /// <summary>Name of the preset, as in --kv-cache.</summary>
    public required string Name { get; init; }

    /// <summary>L of the model.</summary>
    public required int LayerCount { get; init; }

    /// <summary>Layers that are never compressed, ascending.</summary>
    public required int[] DenseLayers { get; init; }

    /// <summary>Layers whose keys become latent, ascending: the complement of <see cref="DenseLayers"/>.</summary>
    public int[] SparseLayers => [.. Enumerable.Range(0, LayerCount).Except(DenseLayers)];

    /// <summary>No layer is compressed.</summary>
    public bool IsDense => DenseLayers.Length == LayerCount;

    /// <summary>Some layers' dense pages do not hold what was computed, so a prompt that takes them from the cache may differ from one that computes them.</summary>
    public bool HasCodedPages => DenseInt8 && DenseLayers.Length > 0;

    /// <summary>R, latent coordinates kept per key; at most D, and a multiple of 16 unless it is D.</summary>
    public int Rank { get; init; }

    /// <summary>[compressed layers, ascending], R of each where they differ, multiples of 16; <see cref="Rank"/> is their largest then. Empty = <see cref="Rank"/> everywhere.</summary>
    public int[] LayerRanks { get; init; } = [];

    /// <summary>RS, leading latent coordinates that scoring reads, the same in every layer; 1..R of the layer that has least.</summary>
    public int ScoreRank { get; init; }

    /// <summary>
    /// N, groups of consecutive KV heads with a basis of their own: each keeps R / N coordinates of its own channels, RS / N of them scored, so the joint basis is block
    /// diagonal. Divides HK, R and RS; 1 = all heads share one basis, as in the paper. What the presets take: <see cref="LatentPresets.BasisGroups"/>.
    /// </summary>
    public int BasisGroups { get; init; } = 1;

    /// <summary>Latent coordinates of one group.</summary>
    public int GroupRank => Rank / BasisGroups;

    /// <summary>First tokens of a sequence, always attended exactly; 0..64, so that hot page 0 holds them all.</summary>
    public int SinkTokens { get; init; }

    /// <summary>Newest tokens that are always attended exactly, at least 1. The window really holds RecentTokens..RecentTokens + 63 tokens.</summary>
    public int RecentTokens { get; init; } = 1;

    /// <summary>Tokens selected from the latent ones: length / Sparsity, then clamped to [<see cref="CriticalMin"/>, <see cref="CriticalMax"/>].</summary>
    public int Sparsity { get; init; } = 8;

    public int CriticalMin { get; init; }

    public int CriticalMax { get; init; }

    /// <summary>
    /// Over 0: of a row's candidates as few are selected as hold this share of the probability that their scores give them (<c>SelectMass</c>), at least
    /// <see cref="CriticalMin"/> and at most <see cref="CriticalMax"/>, whatever the length. 0 = a number that depends on the length alone.
    /// </summary>
    public double CriticalMass { get; init; }

    /// <summary>Bits of a value code: 2, 3 or 4, quantised in groups; 16 = plain fp16.</summary>
    public int ValueBits { get; init; } = 16;

    /// <summary>Channels of one token that share a scale and a zero; a multiple of 32 that divides D. Unused with 16 bits.</summary>
    public int ValueGroup { get; init; } = 32;

    /// <summary>Values are turned by a Hadamard matrix for each head before they are quantised.</summary>
    public bool RotateValues { get; init; }

    /// <summary>Sequences of at most this many tokens stay wholly exact; 0 = compress as soon as a page leaves the window.</summary>
    public int DenseBelow { get; init; }

    public LatentFormat LatentFormat { get; init; }

    /// <summary>
    /// Keys and values of the dense layers are kept as one byte a number and two for each token and KV head, see <c>HeadCodes</c>, instead of exactly. Hot pages
    /// are exact always.
    /// </summary>
    public bool DenseInt8 { get; init; }

    /// <summary>Scores see rope, averaged over bands of distance (<c>ScoreBands</c>), instead of none as in the paper.</summary>
    public bool ScoreRope { get; init; }

    /// <summary>Every query head scores by itself and the standardised scores are put together (<c>HeadScores</c>), instead of one score of the sum of all heads' logits.</summary>
    public bool ScoreHeads { get; init; }

    /// <summary>The mean key of a layer is subtracted before projection and added back at reconstruction.</summary>
    public bool Centred { get; init; }

    /// <summary>Which directions of the keys are kept.</summary>
    public BasisKind Basis { get; init; }

    /// <summary>
    /// Where the <paramref name="nth"/> coordinate of a group, the leading first, lies among the R: groups lie one behind the other in either plane, their leading RS / N
    /// in [0, RS), their rest in [RS, R).
    /// </summary>
    public int Coordinate(int group, int nth)
    {
        var scored = ScoreRank / BasisGroups;
        return nth < scored ? (group * scored) + nth : ScoreRank + (group * (GroupRank - scored)) + nth - scored;
    }

    /// <summary>The joint matrix [R, D] of the groups' own: rows where <see cref="Coordinate"/> says, 0 outside a group's channels.</summary>
    /// <param name="width">D</param>
    /// <param name="own">Of group g, [R / N, D / N], the leading coordinate first; called for g = 0 .. N - 1 in order.</param>
    public float[] JoinGroups(int width, Func<int, float[]> own)
    {
        var block = width / BasisGroups;
        var joint = new float[Rank * width];
        for (var group = 0; group < BasisGroups; group++)
        {
            var rows = own(group);
            for (var n = 0; n < GroupRank; n++)
            {
                rows.AsSpan(n * block, block).CopyTo(joint.AsSpan((Coordinate(group, n) * width) + (group * block)));
            }
        }

        return joint;
    }

    /// <summary>R of a compressed layer.</summary>
    public int RankOf(int layer) => LayerRanks.Length == 0 ? Rank : LayerRanks[Array.IndexOf(SparseLayers, layer)];

    /// <summary>The same settings with the rank of a compressed layer for all.</summary>
    public LatentSpec OfLayer(int layer) => LayerRanks.Length == 0 ? this : this with { Rank = RankOf(layer), LayerRanks = [] };

    /// <summary>Most latent tokens a compressed layer may select in a sequence of <paramref name="length"/> tokens (fewer when there are fewer).</summary>
    public int CriticalCount(int length) => CriticalMass > 0 ? CriticalMax : Math.Clamp(length / Sparsity, CriticalMin, CriticalMax);

    /// <summary>Least number of them: <see cref="CriticalCount"/> unless it depends on the scores.</summary>
    public int LeastCount(int length) => CriticalMass > 0 ? CriticalMin : CriticalCount(length);

    /// <summary>
    /// First and second layer and the last are not sparsified (paper, section 5.1: latent selection is poor there);
    /// of fewer than 5 layers only the first and the last.
    /// </summary>
    public static int[] DefaultDenseLayers(int layerCount) => layerCount switch
    {
        1 => [0],
        < 5 => [0, layerCount - 1],
        _ => [0, 1, layerCount - 1],
    };

    /// <summary>
    /// Every value as <c>key=value</c>, in the words of --sals: parsing it for the same model gives an equal spec. Distinguishes cache entries and
    /// is what the start-up log prints.
    /// </summary>
    public string Describe() => IsDense
        ? $"dense{(DenseInt8 ? " dense_format=int8" : "")}"
        : string.Create(System.Globalization.CultureInfo.InvariantCulture,
            $"{Name} {(LayerRanks.Length == 0 ? $"rank={Rank}" : $"layer_ranks={string.Join(',', LayerRanks)}")} score_rank={ScoreRank} basis_groups={BasisGroups} sink_tokens={SinkTokens} recent_tokens={RecentTokens} {(CriticalMass > 0 ? $"critical_mass={CriticalMass}" : $"sparsity={Sparsity}")} critical_min={CriticalMin} critical_max={CriticalMax} value_bits={ValueBits} value_group={ValueGroup} value_rotation={(RotateValues ? "hadamard" : "none")} dense_layers={(DenseLayers.Length == 0 ? "none" : string.Join(',', DenseLayers))} dense_below={DenseBelow} dense_format={(DenseInt8 ? "int8" : "exact")} latent_format={LatentSpecParser.NameOf(LatentFormat)} score_rope={(ScoreRope ? "bands" : "none")} score_heads={(ScoreHeads ? "zscore" : "sum")} centred={(Centred ? "true" : "false")} basis={(Basis == BasisKind.Queries ? "queries" : "keys")}");
}

/// <summary>What a latent basis keeps of the keys.</summary>
public enum BasisKind
{
    /// <summary>The directions in which they are largest (the paper's).</summary>
    Keys,

    /// <summary>Those in which queries see errors most, turned so that the leading coordinates carry most of the scores (<see cref="WeightedBasis"/>).</summary>
    Queries,
}
