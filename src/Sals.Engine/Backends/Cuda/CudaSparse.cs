using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Kernels.Cuda.Kernels.FlushPages;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>
/// The compressed layers' part of the launches, in the steps of the paper: score the latent tokens, select, attend to the selected ones; and compress pages,
/// when they leave the window or at the end of a prefill. What is latent at which length: <see cref="CacheTimeline"/>. Its buffers: <see cref="SparseArena"/>.
/// </summary>
internal sealed class CudaSparse(
    ModelConfig model, CudaStream stream, CudaKernels kernels, CudaCache cache, CudaBasis basis, SparseArena arena, DevicePtr<float> rope)
{
    public SparseArena Arena => arena;

    /// <summary>What the kernels of these settings are compiled with.</summary>
    /// <param name="longest">Tokens of the longest sequence.</param>
    public static LatentShape ShapeOf(ModelConfig model, LatentSpec spec, int longest) => new()
    {
        HeadSize = model.HeadSize,
        QueryHeads = model.HeadCount,
        KeyHeads = model.KeyValueHeadCount,
        MaxPages = CudaCache.PagesOf(longest),
        Rank = spec.Rank,
        ScoreRank = spec.ScoreRank,
        BasisGroups = spec.BasisGroups,
        SinkTokens = spec.SinkTokens,
        RecentTokens = spec.RecentTokens,
        Sparsity = spec.Sparsity,
        CriticalMin = spec.CriticalMin,
        CriticalMax = spec.CriticalMax,
        DenseBelow = spec.DenseBelow,
        ValueBits = spec.ValueBits,
        ValueGroup = spec.ValueGroup,
        Int8 = spec.LatentFormat == LatentFormat.Int8,
        ScoreBands = spec.ScoreRope ? ScoreBands.Count(CacheTimeline.LatentPages(longest, spec)) : 0,
        SelectedStride = Math.Max(32, (CacheTimeline.SelectedCount(longest, spec) + 31) / 32 * 32),
    };

    /// <summary>Attention of one compressed layer for the rows that have latent pages, from their query projection after rope to their heads' outputs.</summary>
    /// <param name="qkv">[rows, stride]; a row ends with its scoring query</param>
    /// <param name="o">[rows, HQ, DH]</param>
    public void Attend(int layer, DevicePtr<ushort> qkv, int stride, StepInputs inputs, DevicePtr<ushort> o, int rows)
    {
        long hot = cache.Layout.KeyOffset(layer), latent = cache.Layout.ScoreOffset(layer);
        var b = basis[layer];
        kernels.BandQueries?.Launch(stream, qkv, stride, inputs, rope, arena.BandMeans, basis.Scoring(layer), b, arena.BandQueries, arena.BandBiases, rows);
        kernels.ScoreSelect!.Launch(
            stream, qkv, stride, inputs, cache.Table(PoolKind.Latent), cache.Pages, latent, b, arena.Scores, arena.Selected, rows, arena.BandQueries, arena.BandBiases);
        kernels.SparseAttend!.Launch(
            stream, qkv, stride, inputs, cache.Table(PoolKind.Hot), cache.Table(PoolKind.Latent), cache.Pages, hot, latent, arena.Selected, b, arena.Parts, o, rows);
    }

    /// <summary>The scoring queries of a model that norms its queries, which no product can give; before rope.</summary>
    public void Score(int layer, DevicePtr<ushort> qkv, int stride, DevicePtr<ushort> queryNorm, int rows) =>
        kernels.ScoringQuery!.Launch(stream, qkv, stride, queryNorm, model.RmsNormEpsilon, basis.Scoring(layer), rows);

    /// <summary>Compresses the hot pages of a plan's flushes in all compressed layers.</summary>
    public void Flush(PinnedBuffer<FlushedPage> flushes, int count)
    {
        stream.Upload(flushes, arena.Flushes, count);
        kernels.FlushPages!.Launch(stream, arena.Flushes, count, basis.FlushedLayers, basis.LayerCount, rope, cache.Pages);
    }

    /// <summary>Brings tokens [0, history) of a cached prefix into the lane: exact where the slot has a hot page, else reconstructed.</summary>
    /// <param name="keys">[LANE, HK, DH], of token 0</param>
    /// <param name="values">[LANE, HK, DH], of token 0</param>
    public void ReadPages(int layer, int slot, int history, DevicePtr<ushort> keys, DevicePtr<ushort> values) =>
        kernels.ReconstructPages!.Launch(
            stream, cache.Row(PoolKind.Hot, slot), cache.Row(PoolKind.Latent, slot), cache.Pages, cache.Layout.KeyOffset(layer), cache.Layout.ScoreOffset(layer),
            CudaCache.PagesOf(history), basis[layer], rope, keys, values);

    /// <summary>Writes a prompt's pages of one layer from the lane as its length demands: hot, latent, or page 0 both.</summary>
    public void WritePages(int layer, int slot, int history, int length, DevicePtr<ushort> keys, DevicePtr<ushort> values)
    {
        var latent = CacheTimeline.LatentPages(length, cache.Layout.Spec);
        var first = history / PageLayout.PageSize;
        if (first == 0 && latent > 0 && cache.Layout.Spec.SinkTokens > 0)
        {
            Store(0, PageLayout.PageSize);
        }

        Store(Math.Max(history, latent * PageLayout.PageSize), length);
        if (latent > first)
        {
            kernels.FlushPages!.LaunchLane(
                stream, keys, values, cache.Row(PoolKind.Latent, slot), first, latent - first, basis.Flushed(layer), rope, cache.Pages);
        }

        void Store(int from, int to) =>
            kernels.PrefillStore.LaunchStore(stream, cache.Row(PoolKind.Hot, slot), cache.Pages, cache.Planes(layer), keys, values, from, to - from);
    }
}
