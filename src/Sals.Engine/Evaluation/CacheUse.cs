using Sals.Engine.Models;
using Sals.Engine.Paging;

namespace Sals.Engine.Evaluation;

/// <summary>How much of the work of some requests was sparse, and what their caches weighed; counted by the engine, not derived from settings.</summary>
public sealed record CacheUse
{
    private CacheUse()
    {
    }

    /// <summary>Tokens that came from decode rows.</summary>
    public required long DecodedTokens { get; init; }

    /// <summary>Share of decoded tokens that read compressed pages in some layer, 0..1.</summary>
    public required double SparseTokenShare { get; init; }

    /// <summary>Share of all (layer, decoded token) pairs that read compressed pages, 0..1; layers that are kept dense count as not sparse.</summary>
    public required double SparsePairShare { get; init; }

    /// <summary>Share of all (layer, decoded token) pairs that attended to a selection, because there were more candidates than the budget.</summary>
    public required double ScoredPairShare { get; init; }

    /// <summary>Bytes of the pages held by the finished sequences, over their tokens: window, sinks, dense layers, reserved pages and page rounding included.</summary>
    public required double MeasuredBytesPerToken { get; init; }

    /// <summary>The same by <see cref="PageLayout"/>'s arithmetic for these lengths.</summary>
    public required double ExpectedBytesPerToken { get; init; }

    /// <summary>The same arithmetic without compression: what the dense cache holds for these lengths.</summary>
    public required double DenseBytesPerToken { get; init; }

    /// <summary>Bytes of a latent token of one compressed layer over those of an exact one; 1 when nothing is compressed.</summary>
    public required double LayerRatio { get; init; }

    /// <summary><see cref="LayerRatio"/> with latents and exact values in 16 bits each, as the paper counts.</summary>
    public required double LayerRatio16 { get; init; }

    /// <summary>Whole cache over the dense one, measured.</summary>
    public double ModelRatio => MeasuredBytesPerToken / DenseBytesPerToken;

    /// <summary>Compresses, but no decoded token was served from compressed pages: the row says nothing about compression.</summary>
    public required bool Unused { get; init; }

    /// <summary>What makes the row's figures unfit for use; null when nothing does.</summary>
    public string? Problem =>
        Unused ? "no decoded token read compressed pages (sparse share 0), so this says nothing about the compressed cache"
        : MeasuredBytesPerToken != ExpectedBytesPerToken ? string.Create(System.Globalization.CultureInfo.InvariantCulture,
            $"the pages held are {MeasuredBytesPerToken:#,0.00} bytes a token, PageLayout's arithmetic says {ExpectedBytesPerToken:#,0.00}")
        : null;

    /// <param name="answers">Finished requests of one choice each.</param>
    /// <param name="maxLengths">Prompt and most tokens of each request.</param>
    /// <param name="layout">The backend's.</param>
    public static CacheUse Of(IReadOnlyList<EvalAnswer> answers, IReadOnlyList<int> maxLengths, PageLayout layout, ModelConfig model)
    {
        var spec = layout.Spec;
        var dense = new PageLayout(model, Latent.LatentSpec.Dense(model.LayerCount), layout.ExactType);
        long tokens = 0, measured = 0, expected = 0, exact = 0;
        for (var i = 0; i < answers.Count; i++)
        {
            var trace = answers[i].Trace;
            tokens += trace.CacheTokens;
            foreach (var pool in PoolKinds.All)
            {
                measured += trace.CachePages[pool] * layout.PageBytes(pool);
                expected += layout.HeldPages(pool, trace.CacheTokens, maxLengths[i]) * layout.PageBytes(pool);
                exact += dense.HeldPages(pool, trace.CacheTokens, maxLengths[i]) * dense.PageBytes(pool);
            }
        }

        var decoded = answers.Sum(answer => (long)answer.Trace.DecodedTokens);
        double pairs = Math.Max(1, decoded * model.LayerCount);
        var sparse = answers.Sum(answer => (long)answer.Trace.SparseLayerTokens);
        return new CacheUse
        {
            DecodedTokens = decoded,
            SparseTokenShare = answers.Sum(answer => (long)answer.Trace.SparseTokens) / (double)Math.Max(1, decoded),
            SparsePairShare = sparse / pairs,
            ScoredPairShare = answers.Sum(answer => (long)answer.Trace.ScoredLayerTokens) / pairs,
            MeasuredBytesPerToken = measured / (double)tokens,
            ExpectedBytesPerToken = expected / (double)tokens,
            DenseBytesPerToken = exact / (double)tokens,
            LayerRatio = RatioOf(layout),
            LayerRatio16 = spec.IsDense ? 1 : RatioOf(new PageLayout(model, spec with { LatentFormat = Latent.LatentFormat.BFloat16 }, ElementType.BFloat16)),
            Unused = !spec.IsDense && sparse == 0,
        };
    }

    private static double RatioOf(PageLayout layout) => layout.Spec.IsDense ? 1 : layout.LatentLayerBytes / (2.0 * layout.ExactPlaneBytes);
}
