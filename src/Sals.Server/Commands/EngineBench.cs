using System.Diagnostics;
using Sals.Engine;
using Sals.Engine.Backends;
using Sals.Engine.Backends.Cpu;
using Sals.Engine.Evaluation;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Sampling;
using Sals.Server.Hosting;

namespace Sals.Server.Commands;

/// <summary>One prompt length: medians over the runs.</summary>
/// <param name="TokensPerSecond">Prompt tokens over the time from the first prefill slice to the first token.</param>
/// <param name="FirstTokenSeconds">From arrival to the first token.</param>
public sealed record PrefillFigure(int PromptTokens, double TokensPerSecond, double FirstTokenSeconds, double GigaflopsPerSecond, double ShareOfPeak);

/// <summary>One batch size: tokens of all streams a second while all of them run.</summary>
/// <param name="ShareOfBandwidth">Of the machine's measured read bandwidth, counting weights once a step; null when the backend does not say.</param>
public sealed record DecodeFigure(int Streams, double TokensPerSecond, double StepMilliseconds, double? GigabytesPerSecond, double? ShareOfBandwidth);

/// <summary>One stream behind a long prompt: what a cache costs in time and memory.</summary>
/// <param name="Context">Tokens in the cache at the end.</param>
/// <param name="CacheBytes">Bytes of the pages in use while it decoded.</param>
/// <param name="ExpectedCacheBytes">The same by <see cref="PageLayout"/>: what the length occupies and the latent pages reserved for its window.</param>
/// <param name="DenseCacheBytes">What the length occupies when nothing is compressed.</param>
public sealed record ContextFigure(int Context, double StepMilliseconds, double TokensPerSecond, long CacheBytes, long ExpectedCacheBytes, long DenseCacheBytes);

/// <summary>The cache's settings and what they come to, by <see cref="PageLayout"/>.</summary>
/// <param name="LayerRatio">Bytes of a compressed token over those of an exact one, one compressed layer; 1 when dense.</param>
/// <param name="ModelRatio">The same over all layers.</param>
/// <param name="SparseTokenShare">Of the tokens decoded in this run, those that read compressed pages.</param>
/// <param name="SparsePairShare">The same of (layer, token) pairs.</param>
/// <param name="Selections">(layer, token) pairs that chose tokens by score.</param>
public sealed record CacheFigure(
    string Settings, long ExactBytesPerToken, long CompressedBytesPerToken, double LayerRatio, double ModelRatio,
    double SparseTokenShare, double SparsePairShare, long Selections, long Flushes);

public sealed record BenchReport(
    string Model, string Backend, int Threads, double MachineGigabytesPerSecond, double MachineGigaflopsPerSecond,
    IReadOnlyList<PrefillFigure> Prefill, IReadOnlyList<DecodeFigure> Decode, IReadOnlyList<ContextFigure> Contexts, CacheFigure Cache, long WeightBytes, long CacheBytes, long ResidentBytes);

/// <summary>
/// Measures the engine as a server would use it, without HTTP: random prompts, no prefix reuse, greedy, no end tokens. Machine figures are
/// measured in the same run, so that shares mean something on a machine that is busy.
/// </summary>
public static class EngineBench
{
    /// <summary>Tokens every stream decodes.</summary>
    private const int DecodeTokens = 128;

    private const int DecodePrompt = 64;

    public static async Task<BenchReport> RunAsync(LoadedModel model, ModelConfig config, int[] promptLengths, int[] batches, int[] contexts, int repeats)
    {
        IStepBackend? backend = null;
        await using var engine = new InferenceEngine(() => backend = model.CreateBackend(), model.EngineOptions, TimeProvider.System);
        var info = await engine.Loaded;
        var random = new Random(1);
        await GenerateAsync(engine, Prompts(random, model, 1, 256), 32);

        var before = CpuCeilings.Measure(Environment.ProcessorCount);
        var prefill = new List<(int Length, double Seconds, double First)>();
        foreach (var length in promptLengths.Where(length => length + 1 <= info.MaxModelLength))
        {
            var runs = new List<(double Prefill, double First)>();
            for (var i = 0; i < repeats; i++)
            {
                var trace = (await GenerateAsync(engine, Prompts(random, model, 1, length), 1)).Traces[0];
                runs.Add((Seconds(trace.Started, trace.FirstToken), Seconds(trace.Arrived, trace.FirstToken)));
            }

            prefill.Add((length, Median(runs.Select(run => run.Prefill)), Median(runs.Select(run => run.First))));
        }

        var decode = new List<(int Streams, double Rate)>();
        foreach (var streams in batches.Where(streams => streams <= info.SlotCount))
        {
            var rates = new List<double>();
            for (var i = 0; i < repeats; i++)
            {
                rates.Add((await GenerateAsync(engine, Prompts(random, model, streams, DecodePrompt), DecodeTokens)).DecodeRate);
            }

            decode.Add((streams, Median(rates)));
        }

        var behind = new List<ContextFigure>();
        foreach (var context in contexts.Select(context => Math.Max(2 * PageLayout.PageSize, context / PageLayout.PageSize * PageLayout.PageSize)).Where(context => context <= info.MaxModelLength))
        {
            behind.Add(await ContextAsync(engine, info, model, config, random, context, repeats));
        }

        // the better of both, so that a share is never flattered by a bad moment
        var after = CpuCeilings.Measure(Environment.ProcessorCount);
        var bandwidth = Math.Max(before.ReadBytesPerSecond, after.ReadBytesPerSecond) / 1e9;
        var peak = Math.Max(before.FlopsPerSecond, after.FlopsPerSecond) / 1e9;
        var cpu = backend as CpuBackend;
        return new BenchReport(
            model.Names[0], info.Name, Environment.ProcessorCount, bandwidth, peak,
            [.. prefill.Select(run =>
            {
                var flops = Flops(config, run.Length) / run.Seconds / 1e9;
                return new PrefillFigure(run.Length, run.Length / run.Seconds, run.First, flops, flops / peak);
            })],
            [.. decode.Select(run =>
            {
                var bytes = cpu?.DecodeWeightBytes * run.Rate / run.Streams / 1e9;
                return new DecodeFigure(run.Streams, run.Rate, run.Streams / run.Rate * 1000, bytes, bytes / bandwidth);
            })],
            behind, Cache(engine.Stats, info, config), cpu?.Memory.Weights ?? 0, cpu?.Memory.Cache ?? info.CacheBytes, Environment.WorkingSet);
    }

    private static CacheFigure Cache(EngineStats stats, BackendInfo info, ModelConfig config)
    {
        var layout = new PageLayout(config, info.Spec, ElementType.Float32);
        var exact = layout.ExactPageBytes / PageLayout.PageSize;
        var rows = Math.Max(1.0, stats.DecodeRows);
        return new CacheFigure(
            info.Spec.Describe(), exact, (layout.DensePageBytes + layout.LatentPageBytes) / PageLayout.PageSize,
            layout.LayerRatio, layout.ModelRatio,
            stats.SparseRows / rows, stats.SparseLayerRows / (rows * info.LayerCount), stats.ScoredLayerRows, stats.Flushes);
    }

    /// <summary>The decoded tokens fill the last page of <paramref name="context"/>, so that the pages in use stay the same while they are counted.</summary>
    private static async Task<ContextFigure> ContextAsync(
        InferenceEngine engine, BackendInfo info, LoadedModel model, ModelConfig config, Random random, int context, int repeats)
    {
        const int tokens = PageLayout.PageSize - 8;
        var rates = new List<double>();
        long used = 0;
        for (var i = 0; i < repeats; i++)
        {
            rates.Add((await GenerateAsync(engine, Prompts(random, model, 1, context - tokens), tokens, seen => used = seen == tokens / 2 ? engine.Stats.CacheBytesUsed : used)).DecodeRate);
        }

        var rate = Median(rates);
        return new ContextFigure(context, 1000 / rate, rate, used, Held(info.Spec), Held(LatentSpec.Dense(config.LayerCount)));

        long Held(LatentSpec spec)
        {
            var layout = new PageLayout(config, spec, ElementType.Float32);
            return PoolKinds.All.Sum(kind => layout.PageBytes(kind) * layout.HeldPages(kind, context - 1, context));
        }
    }

    private static async Task<(GenerationTrace[] Traces, double DecodeRate)> GenerateAsync(InferenceEngine engine, int[][] prompts, int tokens, Action<int>? afterToken = null)
    {
        var handles = prompts.Select(prompt => engine.Start(new GenerationRequest
        {
            Id = "bench",
            Prompt = prompt,
            MaxTokens = tokens,
            Sampling = new SamplingOptions { Temperature = 0 },
            UsePrefixCache = false,
        })).ToArray();
        var times = await Task.WhenAll(handles.Select(async handle =>
        {
            var seen = new List<long>();
            await foreach (var token in handle.Events.ReadAllAsync())
            {
                seen.Add(token.Finish is FinishReason.Error or FinishReason.Abort
                    ? throw new InvalidOperationException(token.Error ?? "the engine gave up")
                    : Stopwatch.GetTimestamp());
                afterToken?.Invoke(seen.Count);
            }

            return seen;
        }));
        // while all streams run: from the last one's first token to the first one's last
        var from = times.Max(seen => seen[0]);
        var to = times.Min(seen => seen[^1]);
        var count = times.Sum(seen => seen.Count(time => time > from && time <= to));
        return ([.. handles.Select(handle => handle.Trace)], to > from ? count / Seconds(from, to) : 0);
    }

    private static int[][] Prompts(Random random, LoadedModel model, int count, int length) =>
        [.. Enumerable.Range(0, count).Select(_ => Enumerable.Range(0, length).Select(_ => random.Next(16, model.VocabularySize)).ToArray())];

    /// <summary>Multiply-adds count two; attention over the tokens before each; logits of the last token only.</summary>
    private static double Flops(ModelConfig config, int tokens)
    {
        double perLayer = (config.HiddenSize * (2.0 * config.QueryWidth + 2.0 * config.KeyWidth)) + (3.0 * config.HiddenSize * config.IntermediateSize);
        var attention = 2.0 * config.QueryWidth * tokens * (tokens + 1) / 2;
        return 2 * ((config.LayerCount * ((perLayer * tokens) + attention)) + ((double)config.HiddenSize * config.VocabularySize));
    }

    private static double Seconds(long from, long to) => Stopwatch.GetElapsedTime(from, to).TotalSeconds;

    private static double Median(IEnumerable<double> values)
    {
        var sorted = values.Order().ToArray();
        return sorted[sorted.Length / 2];
    }
}
