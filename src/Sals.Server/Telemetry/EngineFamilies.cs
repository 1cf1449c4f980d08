using System.Diagnostics;
using System.Globalization;
using Sals.Engine;
using Sals.Engine.Backends;
using Sals.Engine.Paging;
using Sals.Server.Hosting;
using static Sals.Server.Telemetry.MetricFamily;

namespace Sals.Server.Telemetry;

/// <summary>The <c>sals:</c> families: steps, cache pools, what compression saves, how many tokens are selected, prefill lanes.</summary>
public static class EngineFamilies
{
    public static IEnumerable<MetricFamily> Of(string model, EngineStats stats, BackendInfo info)
    {
        var common = Labels(("model_name", model), ("engine", "0"));
        string With(string name, string value) => Labels(("model_name", model), ("engine", "0"), (name, value));
        MetricFamily Counter(string name, string help, Func<double> read) => new ReadFamily("sals:" + name, "counter", help, (common, read));
        MetricFamily Gauge(string name, string help, Func<double> read) => new ReadFamily("sals:" + name, "gauge", help, (common, read));
        MetricFamily Pools(string name, string help, Func<PoolKind, double> read) => new ReadFamily("sals:" + name, "gauge", help,
            [.. PoolKinds.All.Select<PoolKind, (string, Func<double>)>(pool => (With("pool", Lower(pool)), () => read(pool)))]);
        MetricFamily Lanes(string name, string help, Func<int, double> read) => new ReadFamily("sals:" + name, "gauge", help,
            [.. Enumerable.Range(0, info.LaneLengths.Length).Select<int, (string, Func<double>)>(
                lane => (With("lane", lane.ToString(CultureInfo.InvariantCulture)), () => read(lane)))]);

        return
        [
            Counter("steps_total", "Steps of the model.", () => stats.Steps),
            new ReadFamily("sals:engine_seconds_total", "counter",
                "Time of the engine thread: schedule = planning steps and publishing tokens, backend = its calls (on the CPU the steps themselves), wait = for the device.",
                (With("part", "schedule"), () => Seconds(stats.ScheduleTicks)),
                (With("part", "backend"), () => Seconds(stats.BackendTicks - stats.WaitTicks)),
                (With("part", "wait"), () => Seconds(stats.WaitTicks))),
            Counter("decode_rows_total", "Rows decoded, one token of one sequence each.", () => stats.DecodeRows),
            Counter("prefill_tokens_total", "Prompt tokens computed, replays included.", () => stats.PrefillTokens),

            Pools("cache_pages_used", "Pages that live sequences hold, by pool.", pool => stats.PagesUsed(pool)),
            Pools("cache_pages_cached", "Pages that only the prefix cache holds, by pool.", pool => stats.PagesCached(pool)),
            Pools("cache_pool_used_bytes", "Bytes of the pages that live sequences hold, by pool.", pool => stats.PagesUsed(pool) * info.BytesOf(pool)),
            Pools("cache_pool_cached_bytes", "Bytes of the pages that only the prefix cache holds, by pool.", pool => stats.PagesCached(pool) * info.BytesOf(pool)),
            Pools("cache_pool_bytes", "Cache memory that a pool has drawn, free pages included.", pool => stats.PoolBytes(pool)),
            Gauge("cache_bytes", "Size of the cache.", () => stats.CacheBytesTotal),
            Gauge("cache_capacity_tokens", "Tokens that the cache keeps when it is full of the longest sequences.", () => info.CacheTokens),

            new ReadFamily("sals:cache_compression_info", "gauge", "Settings of the compressed cache.", (CompressionLabels(model, info), () => 1)),
            Gauge("cache_basis_bytes", "Memory of the latent bases and folded scoring queries.", () => info.BasisBytes),
            new ReadFamily("sals:cache_bytes_per_token", "gauge", "Bytes of one cached token over all layers: exact, compressed, or of the longest sequence with its window, dense layers and the bases.",
                (With("form", "exact"), () => (double)info.ExactPageBytes / PageLayout.PageSize),
                (With("form", "compressed"), () => PerToken(info, info.BytesOf(PoolKind.Latent) > 0 ? PoolKind.Latent : PoolKind.Hot)),
                (With("form", "longest"), () => (double)(MemoryBudget.SequenceBytes(info) + info.BasisBytes) / info.MaxModelLength)),
            Counter("flushes_total", "Hot pages compressed.", () => stats.Flushes),

            Counter("sparse_rows_total", "Rows decoded that read compressed pages in some layer.", () => stats.SparseRows),
            Counter("sparse_layer_rows_total", "Pairs of row and layer that read compressed pages.", () => stats.SparseLayerRows),
            Counter("scored_layer_rows_total", "Pairs of row and layer that chose tokens by score.", () => stats.ScoredLayerRows),
            Counter("context_tokens_total", "Cached tokens of the sequence, summed over rows decoded.", () => stats.ContextTokens),
            Counter("candidate_tokens_total", "Latent tokens a compressed layer could select, summed over rows decoded.", () => stats.CandidateTokens),
            Counter("selected_tokens_total", "Latent tokens a compressed layer selected, summed over rows decoded.", () => stats.SelectedTokens),

            Lanes("lane_used_tokens", "Rows of a prefill lane that prompts hold.", lane => lane < stats.LaneCount ? stats.LaneTokens(lane) : 0),
            Lanes("lane_tokens", "Rows of a prefill lane.", lane => info.LaneLengths[lane]),
        ];
    }

    private static double Seconds(long ticks) => (double)ticks / Stopwatch.Frequency;

    private static double PerToken(BackendInfo info, PoolKind compressible) =>
        (double)(info.BytesOf(PoolKind.Dense) + info.BytesOf(compressible)) / PageLayout.PageSize;

    private static string CompressionLabels(string model, BackendInfo info)
    {
        var spec = info.Spec;
        string Number(int value) => value.ToString(CultureInfo.InvariantCulture);
        return Labels(
            ("model_name", model),
            ("engine", "0"),
            ("preset", spec.Name),
            ("layers", Number(spec.LayerCount)),
            ("compressed_layers", Number(spec.LayerCount - spec.DenseLayers.Length)),
            ("rank", Number(spec.Rank)),
            ("score_rank", Number(spec.ScoreRank)),
            ("basis_groups", Number(spec.BasisGroups)),
            ("value_bits", Number(spec.ValueBits)),
            ("sink_tokens", Number(spec.SinkTokens)),
            ("recent_tokens", Number(spec.RecentTokens)),
            ("dense_below", Number(spec.DenseBelow)));
    }

    private static string Lower(PoolKind pool) => pool.ToString().ToLowerInvariant();
}
