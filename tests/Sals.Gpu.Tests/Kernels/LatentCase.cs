using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Kernels.Cuda.Kernels.Shared;

namespace Sals.Gpu.Tests.Kernels;

/// <summary>Settings of a compressed cache as the CPU reference and as the kernels take them, for a model of two layers of which the second is compressed.</summary>
internal sealed record LatentCase
{
    public const int Layer = 1;

    public int HeadSize { get; init; } = 128;

    public int QueryHeads { get; init; } = 8;

    public int KeyHeads { get; init; } = 2;

    public int Rank { get; init; } = 64;

    public int ScoreRank { get; init; } = 32;

    public int Groups { get; init; } = 1;

    public bool Int8 { get; init; }

    public int ValueBits { get; init; } = 4;

    public int ValueGroup { get; init; } = 32;

    public int Sinks { get; init; } = 16;

    public int Critical { get; init; } = 432;

    public int CriticalMax { get; init; } = 2048;

    public int Width => HeadSize * KeyHeads;

    public LatentFormat Format => Int8 ? LatentFormat.Int8 : LatentFormat.BFloat16;

    public ModelConfig Model => new()
    {
        Architecture = ModelArchitecture.Llama,
        LayerCount = 2,
        HiddenSize = QueryHeads * HeadSize,
        IntermediateSize = 64,
        VocabularySize = 320,
        HeadCount = QueryHeads,
        KeyValueHeadCount = KeyHeads,
        HeadSize = HeadSize,
        RmsNormEpsilon = 1e-5f,
        TiedEmbeddings = false,
        QueryKeyValueBias = false,
        OutputBias = false,
        MlpBias = false,
        QueryKeyNorm = false,
        Rope = new RopeSettings { Theta = 10000 },
        MaxModelLength = 1 << 20,
        EndTokenIds = [],
    };

    public LatentSpec Spec => new()
    {
        Name = "test",
        LayerCount = 2,
        DenseLayers = [0],
        Rank = Rank,
        ScoreRank = ScoreRank,
        BasisGroups = Groups,
        SinkTokens = Sinks,
        RecentTokens = 64,
        Sparsity = 8,
        CriticalMin = Critical,
        CriticalMax = CriticalMax,
        ValueBits = ValueBits,
        ValueGroup = ValueGroup,
        LatentFormat = Format,
        Centred = true,
    };

    public PageLayout Layout => new(Model, Spec, ElementType.BFloat16);

    public LatentShape Shape(int maxLength) => new()
    {
        HeadSize = HeadSize,
        QueryHeads = QueryHeads,
        KeyHeads = KeyHeads,
        MaxPages = CacheTimeline.PagesOf(maxLength),
        Rank = Rank,
        ScoreRank = ScoreRank,
        BasisGroups = Groups,
        SinkTokens = Sinks,
        RecentTokens = 64,
        Sparsity = 8,
        CriticalMin = Critical,
        CriticalMax = CriticalMax,
        DenseBelow = 0,
        ValueBits = ValueBits,
        ValueGroup = ValueGroup,
        Int8 = Int8,
        SelectedStride = (Spec.CriticalCount(maxLength) + 31) / 32 * 32,
    };

    /// <summary>Unit vectors, zero outside their group's channels, not orthogonal: no kernel needs them to be.</summary>
    public LatentBasisLayer Basis(Inputs inputs, float eigenvalue = 1, float mean = 0.3f)
    {
        var vectors = inputs.Normal(Rank * Width);
        var block = Width / Groups;
        for (var group = 0; group < Groups; group++)
        {
            for (var n = 0; n < Rank / Groups; n++)
            {
                var row = vectors.AsSpan(Spec.Coordinate(group, n) * Width, Width);
                row[..(group * block)].Clear();
                row[((group + 1) * block)..].Clear();
            }
        }

        for (var i = 0; i < Rank; i++)
        {
            var row = vectors.AsSpan(i * Width, Width);
            var norm = MathF.Sqrt(System.Numerics.Tensors.TensorPrimitives.SumOfSquares<float>(row));
            System.Numerics.Tensors.TensorPrimitives.Divide(row, norm, row);
        }

        return new LatentBasisLayer(vectors, inputs.Normal(Width, mean), [.. Enumerable.Range(0, Rank).Select(i => eigenvalue / (1 + (i / 16f)))], inputs.Normal(Rank, 0.05f * MathF.Sqrt(eigenvalue)));
    }
}
