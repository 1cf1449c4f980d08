using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Kernels.BandQueries;
using Sals.Kernels.Cuda.Kernels.Ceiling;
using Sals.Kernels.Cuda.Kernels.DenseAttend;
using Sals.Kernels.Cuda.Kernels.EmbedTokens;
using Sals.Kernels.Cuda.Kernels.FlushPages;
using Sals.Kernels.Cuda.Kernels.KeyCovariance;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.PrefillAttend;
using Sals.Kernels.Cuda.Kernels.PrefillStore;
using Sals.Kernels.Cuda.Kernels.RandomFill;
using Sals.Kernels.Cuda.Kernels.ReconstructPages;
using Sals.Kernels.Cuda.Kernels.RmsNorm;
using Sals.Kernels.Cuda.Kernels.Rope;
using Sals.Kernels.Cuda.Kernels.SampleToken;
using Sals.Kernels.Cuda.Kernels.ScatterWords;
using Sals.Kernels.Cuda.Kernels.ScoreSelect;
using Sals.Kernels.Cuda.Kernels.ScoringQuery;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Kernels.SiluMul;
using Sals.Kernels.Cuda.Kernels.SkinnyGemm;
using Sals.Kernels.Cuda.Kernels.SparseAttend;
using Sals.Testing;
using Xunit;

namespace Sals.Kernels.Cuda.Tests.Compilation;

/// <summary>Every kernel source compiles for every supported architecture and model shape, without a spill. Needs no GPU.</summary>
public class EveryKernelTests
{
    private static readonly string[] Architectures = ["sm_80", "sm_86", "sm_89", "sm_90a"];

    // head size, query heads, KV heads, hidden, MLP, vocabulary
    private static readonly (string Name, int DH, int HQ, int HK, int H, int F, int V)[] Shapes =
    [
        ("llama-2-7b", 128, 32, 32, 4096, 11008, 32000),
        ("mistral-7b", 128, 32, 8, 4096, 14336, 32000),
        ("qwen2.5-7b", 128, 28, 4, 3584, 18944, 152064),
        ("sals-tiny", 64, 8, 4, 512, 1376, 16384),
        ("odd", 64, 3, 1, 352, 1000, 1003),
    ];

    public static TheoryData<string> ArchitectureNames => [.. Architectures];

    [Theory]
    [MemberData(nameof(ArchitectureNames))]
    public void Every_kernel_compiles_without_local_memory(string architecture)
    {
        NvrtcForTests.Require();
        // shapes share the programs that depend on few constants
        var programs = Shapes.SelectMany(s => Programs(s.DH, s.HQ, s.HK, s.H, s.F, s.V)).DistinctBy(p => KernelCache.Key(p, architecture, "")).ToArray();
        var compiled = new KernelCache(null).Get(programs, architecture);
        for (var i = 0; i < compiled.Length; i++)
        {
            Assert.NotEmpty(compiled[i].Cubin);
            Assert.NotEmpty(compiled[i].Resources);
            foreach (var kernel in compiled[i].Resources)
            {
                Assert.True(
                    kernel.StackBytes == 0 && kernel.SpillBytes == 0,
                    $"{kernel.Name} for {architecture} uses {kernel.StackBytes} bytes of local memory and spills {kernel.SpillBytes}; "
                        + $"defines {string.Join(' ', programs[i].Defines.Where(d => !d.Key.StartsWith("AT_", StringComparison.Ordinal)))}");
            }
        }
    }

    [Fact]
    public void No_source_is_left_out()
    {
        var covered = Programs(128, 32, 8, 4096, 14336, 32000).Select(p => p.Source.Name).Distinct().Order(StringComparer.Ordinal);
        Assert.Equal(KernelSource.Names, covered);
    }

    private static IEnumerable<KernelProgram> Programs(int headSize, int queryHeads, int keyHeads, int hidden, int mlp, int vocabulary)
    {
        const int slots = 64;
        const int maxPages = 2048;
        yield return EmbedTokensKernel.Program(hidden, vocabulary);
        yield return RmsNormKernel.Program(hidden);
        yield return SiluMulKernel.Program(mlp);
        yield return RopeKernel.Program(headSize, queryHeads, keyHeads, maxPages);
        yield return PrefillStoreKernel.Program(headSize, keyHeads);
        yield return PlanStepKernel.Program(slots, vocabulary);
        yield return SkinnyGemmKernel.Program();
        yield return ScatterWordsKernel.Program();
        yield return RandomFillKernel.Program();
        yield return CeilingKernel.Program();
        yield return DenseAttendKernel.Program(headSize, queryHeads, keyHeads, maxPages);
        yield return DenseAttendKernel.Program(headSize, queryHeads, keyHeads, maxPages, int8: true);
        yield return PrefillAttendKernel.Program(headSize, queryHeads, keyHeads);
        yield return KeyCovarianceKernel.Program(headSize, queryHeads, keyHeads);
        yield return SampleTokenKernel.Program(slots, vocabulary, vocabulary - 3);
        foreach (var shape in LatentShapes(headSize, queryHeads, keyHeads, maxPages))
        {
            yield return PlanStepKernel.Program(slots, vocabulary, shape);
            yield return ScoreSelectKernel.Program(shape);
            yield return FlushPagesKernel.Program(shape);
            yield return ScoringQueryKernel.Program(shape);
            yield return SparseAttendKernel.Program(shape);
            yield return ReconstructPagesKernel.Program(shape);
        }

        if (queryHeads % 2 == 0)
        {
            // not score_select with bands, which spills 7 registers for sm_80
            yield return BandQueriesKernel.Program(LatentShapes(headSize, queryHeads, keyHeads, maxPages).First() with { ScoreBands = 40 });
        }
    }

    // both presets, one with each format of latents; three bits and plain fp16 values with ranks that are no power of two
    private static IEnumerable<LatentShape> LatentShapes(int headSize, int queryHeads, int keyHeads, int maxPages)
    {
        var width = headSize * keyHeads;
        if (queryHeads % 2 != 0)
        {
            yield return Shape(48, 3, true);
            yield return Shape(48, 16, false);
            yield break;
        }

        yield return Shape(width / 4, 4, true);
        if (keyHeads % 4 == 0 && width % 512 == 0)
        {
            yield return Shape(width / 4, 4, true) with { BasisGroups = 4 };
        }

        yield return Shape(width / 4, 4, false);
        yield return Shape(width / 8, 2, false);

        LatentShape Shape(int rank, int valueBits, bool int8) => SampleShape.Latent with
        {
            HeadSize = headSize,
            QueryHeads = queryHeads,
            KeyHeads = keyHeads,
            MaxPages = valueBits == 3 ? 16384 : maxPages,
            Rank = rank,
            ScoreRank = (rank / 2 + 15) / 16 * 16,
            ValueBits = valueBits,
            Int8 = int8,
        };
    }
}
