using System.Diagnostics;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Sampling;
using Sals.Engine.Scheduling;
using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda.Benchmarks;

/// <summary>Measures a CUDA backend without an engine around it. One instance per cache; used by one thread.</summary>
public sealed class CudaBench : IDisposable
{
    /// <summary>Runs of a replayed graph, of which the median counts.</summary>
    private const int Replays = 15;

    private readonly CudaDevice _device;
    private readonly CudaBackend _backend;
    private readonly BenchSequences _sequences;
    private readonly DeviceTimer _timer;
    private readonly ModelConfig _model;
    private readonly string _cache;
    private readonly long _weightBytes;

    /// <exception cref="CudaException">No usable GPU, or not enough of its memory.</exception>
    /// <param name="cache">Name of the cache in figures.</param>
    /// <param name="ceilings">Null = measured before the backend is made.</param>
    public CudaBench(ModelWeights weights, CudaBackendOptions options, string cache, CudaCeilings? ceilings = null)
    {
        _cache = cache;
        _model = weights.Config;
        var kernels = new KernelCache(options.KernelCacheFolder);
        _device = new CudaDevice(options.Device);
        try
        {
            Ceilings = ceilings ?? CudaCeilings.Measure(_device, kernels);
            var start = Stopwatch.GetTimestamp();
            _backend = new CudaBackend(weights, options);
            StartSeconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            _sequences = new BenchSequences(_backend, _device, kernels);
            _timer = new DeviceTimer(_backend.Stream);
            _weightBytes = CudaWeights.BytesOf(weights, options.Spec) - (_model.TiedEmbeddings ? 0 : 2 * weights.Embedding.ElementCount);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Measured in this process.</summary>
    public CudaCeilings Ceilings { get; }

    /// <summary>From options to a backend that is ready.</summary>
    public double StartSeconds { get; }

    /// <summary>Of these, what the first run and the capture of every decode step took.</summary>
    public double GraphSeconds => _backend.WarmUpCost.Seconds;

    /// <summary>Device memory that they took.</summary>
    public long GraphBytes => _backend.WarmUpCost.Bytes;

    public string Device => CudaCeilings.Describe(_device);

    public BackendInfo Info => _backend.Info;

    /// <summary>Null when the cache does not hold such a batch.</summary>
    /// <param name="batch">0 = the largest that the cache holds, at most the slots.</param>
    /// <param name="steps">Measured steps; the last one reads <paramref name="context"/> tokens.</param>
    public StepFigure? Step(int batch, int context, int steps, bool kernels)
    {
        const int warmUp = 8;
        try
        {
            if (batch == 0)
            {
                batch = _sequences.Fill(context - steps - warmUp, context);
            }

            for (var i = _sequences.Count; i < batch; i++)
            {
                if (!_sequences.TryAdd(context - steps - warmUp, context))
                {
                    return null;
                }
            }

            for (var i = 0; i < warmUp; i++)
            {
                _sequences.Step();
            }

            var waited = _backend.Queue.WaitedTicks;
            var start = Stopwatch.GetTimestamp();
            var (last, slowest) = (start, 0L);
            for (var i = 0; i < steps; i++)
            {
                _sequences.Step();
                var now = Stopwatch.GetTimestamp();
                (last, slowest) = (now, Math.Max(slowest, now - last));
            }

            var wall = Stopwatch.GetElapsedTime(start, last).TotalMilliseconds / steps;
            var host = wall - (new TimeSpan((_backend.Queue.WaitedTicks - waited) * TimeSpan.TicksPerSecond / Stopwatch.Frequency).TotalMilliseconds / steps);
            _sequences.Collect();
            var held = _sequences.Bytes;
            var kinds = RowKindsOf.Row(context, Info.Spec);
            var device = _timer.Median(Replays, () => _backend.Queue.Graphs.Run(batch, kinds), _sequences.RepeatLastStep);
            var figures = kernels ? Kernels(batch, kinds) : [];
            var cache = batch * CacheTraffic.BytesRead(_backend.Cache.Layout, context);
            var rate = (_weightBytes + cache) / wall * 1e3;
            var layout = _backend.Cache.Layout;
            var bases = CudaBasis.BytesOf(layout);
            var exact = (long)batch * context * _model.LayerCount * 2 * layout.ExactPlaneBytes / PageLayout.PageSize;
            return new StepFigure(
                _cache, batch, context, wall, slowest * 1e3 / Stopwatch.Frequency, device, host * 1e3, _weightBytes, cache, held, bases, (double)exact / (held + bases), rate,
                rate / Ceilings.ReadBytesPerSecond, figures);
        }
        finally
        {
            _sequences.Clear();
        }
    }

    /// <summary>Tokens behind the measured length that <see cref="Operator"/> needs room for.</summary>
    internal const int OperatorTail = 4 * PageLayout.PageSize;

    /// <summary>
    /// Layers of a graph that times the operator: a step's. Launching a graph takes 5 us, which would be counted as one layer's where a model has a single one. Fewer
    /// where they read so many bytes that it is not seen.
    /// </summary>
    private const int OperatorLayers = 32;
    private const long OperatorBytes = 4L << 30;

    /// <summary>The attention operator alone, per layer, as a step launches it for rows of this length, in a backend without graphs; null when the cache does not hold such a batch.</summary>
    internal OperatorFigure? Operator(string heads, int batch, int context)
    {
        const int page = PageLayout.PageSize;
        var kinds = RowKindsOf.Row(context, Info.Spec);
        var compressed = kinds == RowKinds.Compressed;
        if (context + OperatorTail > Info.MaxModelLength)
        {
            return null;
        }

        try
        {
            for (var i = 0; i < batch; i++)
            {
                if (!_sequences.TryAdd(context - 1, context + OperatorTail))
                {
                    return null;
                }
            }

            _sequences.Step();
            _sequences.Collect();
            _backend.Stream.Synchronize();
            var (layers, layout) = (_model.LayerCount, _backend.Cache.Layout);
            var read = batch * CacheTraffic.BytesRead(layout, context);
            var forwards = (int)Math.Max(1, Math.Min(OperatorLayers / layers, OperatorBytes / read));
            var stages = KernelBreakdown.Measure(_backend.Stream, _timer, layers, captured: true, Replays, Forward, IsOperator, forwards: forwards);
            var together = Microseconds(IsOperator);
            var projection = !compressed ? 0 : Microseconds(name => name.StartsWith("skinny_gemm_store", StringComparison.Ordinal))
                * Info.Spec.ScoreRank / (_model.QueryWidth + (2 * _model.KeyWidth) + Info.Spec.ScoreRank);

            // behind the length that counts; an exact row flushes nothing
            var flush = !compressed ? 0 : Math.Max(0, Flushes(run: true) - Flushes(run: false)) / page;
            if (compressed)
            {
                stages = [.. stages, new KernelFigure("scoring query, its share of the product", layers, projection), new KernelFigure("flush, a step's share", layers, flush * 1e3 / layers)];
            }

            var total = together + projection + (flush * 1e3 / layers);
            var bytes = read / layers;
            var floor = Info.Spec.IsDense
                ? bytes / Ceilings.ReadBytesPerSecond
                : (batch * CacheTraffic.Scored(layout, context) / Ceilings.ReadBytesPerSecond)
                    + Math.Max(batch * CacheTraffic.Attended(layout, context) / Ceilings.ReadBytesPerSecond, batch * CacheTraffic.Reconstruction(layout, context) / Ceilings.MatrixFlopsPerSecond);
            return new OperatorFigure(heads, _cache, batch, context, total, bytes, bytes / total * 1e6, floor * 1e6, floor * 1e6 / total, stages);

            // of a layer
            double Microseconds(Func<string, bool> wanted) => KernelBreakdown.Time(_backend.Stream, _timer, Replays, Forward, wanted, forwards) * 1e3 / layers;
        }
        finally
        {
            _sequences.Clear();
        }

        void Forward() => _backend.Forward.Decode(_backend.Queue.Graphs.BucketOf(batch), kinds);

        // Milliseconds of the steps of a page in which there is something to flush, with that alone or with nothing run: what keeps the host is in them too, and in
        // the other steps there is nothing else. Of two pages the faster at every step.
        double Flushes(bool run)
        {
            var flushes = false;
            _backend.Stream.Filter = name =>
            {
                var flush = name.StartsWith("flush", StringComparison.Ordinal);
                flushes |= flush;
                return run && flush;
            };
            try
            {
                var times = new double[page];
                for (var i = 0; i < 2 * page; i++)
                {
                    flushes = false;
                    var time = _timer.Once(_sequences.Step);
                    times[i % page] = !flushes ? 0 : i < page ? time : Math.Min(times[i % page], time);
                }

                _sequences.Collect();
                return times.Sum();
            }
            finally
            {
                _backend.Stream.Filter = null;
            }
        }
    }

    /// <summary>Launches between the rotated queries, keys and values of a decode step and the heads' outputs.</summary>
    private static bool IsOperator(string name) =>
        !name.StartsWith("prefill", StringComparison.Ordinal)
        && (name.Contains("attend", StringComparison.Ordinal) || name.Contains("score", StringComparison.Ordinal) || name.Contains("select", StringComparison.Ordinal) || name.StartsWith("merge", StringComparison.Ordinal));

    /// <summary>Null when the prompt is longer than the backend serves.</summary>
    public PromptFigure? Prompt(int tokens, int repeats, bool kernels)
    {
        if (tokens + 1 > Info.MaxModelLength)
        {
            return null;
        }

        var pools = new CachePools(Info);
        var pages = new SequencePages(pools, Info.Spec, tokens + 1);
        if (!pages.TryAdmit(tokens, [], 0))
        {
            return null;
        }

        var plan = new StepPlan(Info.SlotCount, Info.MaxModelLength);
        var result = new StepResult(2 * Info.SlotCount);
        var random = new Random(tokens);
        var prompt = Enumerable.Range(0, tokens).Select(_ => random.Next(16, _model.VocabularySize)).ToArray();
        plan.Starts.Add(new SlotStart(0, new SamplingOptions { Temperature = 0 }, prompt));
        pages.TrySend(0, plan, []);
        var slice = new PrefillSlice(0, 0, [0], prompt, 0, 0, _model.LayerCount, 0, tokens, Samples: true);
        plan.Prefills.Add(slice);
        var times = new double[repeats];
        for (var i = -1; i < repeats; i++)
        {
            var start = Stopwatch.GetTimestamp();
            _backend.Collect(_backend.Submit(plan), result);
            times[Math.Max(i, 0)] = Stopwatch.GetElapsedTime(start).TotalMilliseconds;
        }

        Array.Sort(times);
        var median = times[repeats / 2];
        var figures = kernels
            ? KernelBreakdown.Measure(_backend.Stream, _timer, _model.LayerCount, captured: false, 2, () => _backend.Forward.Prefill([slice], _backend.Arena.Tokens, 0))
            : [];
        var linear = Linear(tokens) / Total("cublaslt");
        return new PromptFigure(
            _cache, tokens, median, tokens / median * 1e3, linear, Attention(tokens) / Total("prefill_attend"), linear / Ceilings.MatrixFlopsPerSecond, figures);

        double Total(string begin) => figures.Where(f => f.Name.StartsWith(begin, StringComparison.Ordinal)).Sum(f => f.Total) / 1e6;
    }

    public void Dispose()
    {
        _timer?.Dispose();
        _sequences?.Dispose();
        _backend?.Dispose();
        _device.Dispose();
    }

    private KernelFigure[] Kernels(int rows, RowKinds kinds)
    {
        _sequences.RepeatLastStep();
        _backend.Queue.Graphs.Run(rows, kinds);
        return KernelBreakdown.Measure(
            _backend.Stream, _timer, _model.LayerCount, captured: true, Replays, () => _backend.Forward.Decode(_backend.Queue.Graphs.BucketOf(rows), kinds), before: _sequences.RepeatLastStep);
    }

    /// <summary>Floating-point operations of the products of all layers; a multiply-add is two.</summary>
    private double Linear(int tokens) =>
        2.0 * tokens * _model.LayerCount * _model.HiddenSize * ((2.0 * _model.QueryWidth) + (2.0 * _model.KeyWidth) + (3.0 * _model.IntermediateSize));

    private double Attention(int tokens) => 2.0 * _model.LayerCount * _model.QueryWidth * tokens * (tokens + 1.0);
}
