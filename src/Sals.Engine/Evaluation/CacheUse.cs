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

    /// <summary>Latent tokens that were attended to, mean over the (layer, decoded token) pairs that read compressed pages; 0 where none did.</summary>
    public required double MeanSelected { get; init; }

    /// <summary>Bytes of the pages held by the finished sequences, over their tokens: window, sinks, dense layers, reserved pages and page rounding included.</summary>
    public required double MeasuredBytesPerToken { get; init; }

    /// <summary>The same by <see cref="PageLayout"/>'s arithmetic for these lengths.</summary>
    public required double ExpectedBytesPerToken { get; init; }

    /// <summary>The same arithmetic without compression: what the dense cache holds for these lengths.</summary>
    public required double DenseBytesPerToken { get; init; }

    /// <inheritdoc cref="PageLayout.LayerRatio"/>
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

    /// <summary>
    /// Bytes that one decode step reads of the caches of all layers over what the dense cache's would be, at these lengths: scored coordinates of every candidate, latents and
    /// values of the selected, sinks and window exactly (the paper's memory-access column; projections are weights and do not count).
    /// </summary>
    public required double AccessRatio { get; init; }

    /// <summary><see cref="AccessRatio"/> of the compressed layers alone, with exact and latent numbers in 16 bits, int8 latents in 8.</summary>
    public required double LayerAccessRatio16 { get; init; }

    /// <param name="traces">Finished requests of one choice each.</param>
    /// <param name="maxLengths">Prompt and most tokens of each request.</param>
    /// <param name="layout">The backend's.</param>
    public static CacheUse Of(IReadOnlyList<GenerationTrace> traces, IReadOnlyList<int> maxLengths, PageLayout layout, ModelConfig model)
    {
        var spec = layout.Spec;
        var dense = new PageLayout(model, Latent.LatentSpec.Dense(model.LayerCount), layout.ExactType);
        long tokens = 0, measured = 0, expected = 0, exact = 0;
        for (var i = 0; i < traces.Count; i++)
        {
            var trace = traces[i];
            tokens += trace.CacheTokens;
            foreach (var pool in PoolKinds.All)
            {
                measured += trace.CachePages[pool] * layout.PageBytes(pool);
                expected += layout.HeldPages(pool, trace.CacheTokens, maxLengths[i]) * layout.PageBytes(pool);
                exact += dense.HeldPages(pool, trace.CacheTokens, maxLengths[i]) * dense.PageBytes(pool);
            }
        }

        var half = Latent.LatentFormatSize.IsCoded(spec.LatentFormat) ? spec.LatentFormat : Latent.LatentFormat.BFloat16;
        var layout16 = spec.IsDense ? layout : new PageLayout(model, spec with { LatentFormat = half }, ElementType.BFloat16);
        var decoded = traces.Sum(trace => (long)trace.DecodedTokens);
        double pairs = Math.Max(1, decoded * model.LayerCount);
        var sparse = traces.Sum(trace => (long)trace.SparseLayerTokens);
        return new CacheUse
        {
            DecodedTokens = decoded,
            SparseTokenShare = traces.Sum(trace => (long)trace.SparseTokens) / (double)Math.Max(1, decoded),
            SparsePairShare = sparse / pairs,
            ScoredPairShare = traces.Sum(trace => (long)trace.ScoredLayerTokens) / pairs,
            MeanSelected = traces.Sum(trace => trace.SelectedTokens) / (double)Math.Max(1, sparse),
            MeasuredBytesPerToken = measured / (double)tokens,
            ExpectedBytesPerToken = expected / (double)tokens,
            DenseBytesPerToken = exact / (double)tokens,
            LayerRatio = layout.LayerRatio,
            LayerRatio16 = layout16.LayerRatio,
            AccessRatio = ((Accessed(traces, layout) * spec.SparseLayers.Length) + (layout.DenseLayerBytes / (2.0 * layout.ExactPlaneBytes) * spec.DenseLayers.Length)) / model.LayerCount,
            LayerAccessRatio16 = spec.IsDense ? 1 : Accessed(traces, layout16),
            Unused = !spec.IsDense && sparse == 0,
        };
    }

    /// <summary>One compressed layer's reads over the dense cache's, at the requests' last lengths.</summary>
    private static double Accessed(IReadOnlyList<GenerationTrace> traces, PageLayout layout)
    {
        var spec = layout.Spec;
        var exact = 2.0 * layout.ExactPlaneBytes / PageLayout.PageSize;
        double scored = (double)layout.ScorePlaneBytes / PageLayout.PageSize, whole = layout.MeanLatentLayerBytes / PageLayout.PageSize;
        double read = 0, dense = 0;
        foreach (var trace in traces.Where(trace => trace.CacheTokens > 0))
        {
            int length = trace.CacheTokens, candidates = CacheTimeline.CandidateCount(length, spec);
            // a number that scores decide is a mean over the decoded tokens
            var selected = spec.CriticalMass > 0 ? (double)trace.SelectedTokens / Math.Max(1, trace.SparseLayerTokens) : CacheTimeline.SelectedCount(length, spec);
            read += (exact * (length - candidates)) + (whole * selected) + (candidates > spec.LeastCount(length) ? scored * candidates : 0);
            dense += exact * length;
        }

        return dense > 0 ? read / dense : 1;
    }
}
