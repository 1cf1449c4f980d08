using System.Diagnostics;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Sampling;
using Sals.Engine.Scheduling;
using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda.Benchmarks;

/// <summary>A decode step of <paramref name="Batch"/> rows that each read <paramref name="Context"/> tokens.</summary>
/// <param name="StepMilliseconds">Wall time of a step with one step of look-ahead, mean over the run: what a stream sees.</param>
/// <param name="SlowestMilliseconds">Longest time between two collected steps.</param>
/// <param name="DeviceMilliseconds">The same step's graph replayed back to back.</param>
/// <param name="HostMicroseconds">Of a step's wall time, what the backend's calls took beside waiting for the device.</param>
/// <param name="WeightBytes">Read once a step.</param>
/// <param name="CacheBytes">Read by all rows of a step.</param>
/// <param name="PageBytes">Held by all sequences.</param>
/// <param name="FloorShare">Time of reading these bytes at the read rate of the run, over the step's.</param>
public sealed record StepFigure(
    string Cache, int Batch, int Context, double StepMilliseconds, double SlowestMilliseconds, double DeviceMilliseconds, double HostMicroseconds,
    long WeightBytes, long CacheBytes, long PageBytes, double BytesPerSecond, double FloorShare, IReadOnlyList<KernelFigure> Kernels);

/// <summary>One prompt, alone, from submission to its first token.</summary>
/// <param name="LinearFlopsPerSecond">Products of all layers timed alone.</param>
/// <param name="AttentionFlopsPerSecond">Causal attention of all layers timed alone; masked pairs do not count.</param>
public sealed record PromptFigure(
    string Cache, int Tokens, double FirstTokenMilliseconds, double TokensPerSecond, double LinearFlopsPerSecond, double AttentionFlopsPerSecond,
    double LinearShare, IReadOnlyList<KernelFigure> Kernels);

/// <summary>Measures a CUDA backend without an engine around it. One instance per cache; used by one thread.</summary>
public sealed class CudaBench : IDisposable
{
    private readonly CudaDevice _device;
    private readonly CudaBackend _backend;
    private readonly BenchSequences _sequences;
    private readonly DeviceTimer _timer;
    private readonly ModelConfig _model;
    private readonly long _weightBytes;

    /// <exception cref="CudaException">No usable GPU, or not enough of its memory.</exception>
    public CudaBench(ModelWeights weights, CudaBackendOptions options)
    {
        _model = weights.Config;
        var kernels = new KernelCache(options.KernelCacheFolder);
        _device = new CudaDevice(options.Device);
        try
        {
            Ceilings = CudaCeilings.Measure(_device, kernels);
            var start = Stopwatch.GetTimestamp();
            _backend = new CudaBackend(weights, options);
            StartSeconds = Stopwatch.GetElapsedTime(start).TotalSeconds;
            _sequences = new BenchSequences(_backend, _device, kernels);
            _timer = new DeviceTimer(_backend.Stream);
            _weightBytes = CudaWeights.BytesOf(weights) - (_model.TiedEmbeddings ? 0 : 2 * weights.Embedding.ElementCount);
        }
        catch
        {
            Dispose();
            throw;
        }
    }

    /// <summary>Measured in this process before the backend was made.</summary>
    public CudaCeilings Ceilings { get; }

    /// <summary>From options to a backend that is ready.</summary>
    public double StartSeconds { get; }

    public string Device => $"{_device.Name}, {_device.Architecture}, CUDA {_device.DriverVersion}";

    public BackendInfo Info => _backend.Info;

    /// <summary>Null when the cache does not hold such a batch.</summary>
    /// <param name="steps">Measured steps; the last one reads <paramref name="context"/> tokens.</param>
    public StepFigure? Step(int batch, int context, int steps, bool kernels)
    {
        const int warmUp = 8;
        try
        {
            for (var i = 0; i < batch; i++)
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
            var held = _sequences.Bytes;
            _sequences.Collect();
            var figures = kernels ? Kernels(batch) : [];
            var device = _timer.Median(10, () => _backend.Queue.Graphs.Run(batch));
            _sequences.RestoreLengths();
            var cache = batch * RowBytes(context);
            var rate = (_weightBytes + cache) / wall * 1e3;
            return new StepFigure(
                Info.Spec.Name, batch, context, wall, slowest * 1e3 / Stopwatch.Frequency, device, host * 1e3, _weightBytes, cache, held, rate,
                rate / Ceilings.ReadBytesPerSecond, figures);
        }
        finally
        {
            _sequences.Clear();
        }
    }

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
            ? KernelBreakdown.Measure(_backend.Stream, _timer, _model.LayerCount, captured: false, 2, () => _backend.Forward.Prefill(slice, _backend.Arena.Tokens, 0))
            : [];
        var linear = Linear(tokens) / Total("cublaslt");
        return new PromptFigure(
            Info.Spec.Name, tokens, median, tokens / median * 1e3, linear, Attention(tokens) / Total("prefill_attend"), linear / Ceilings.MatrixFlopsPerSecond, figures);

        double Total(string begin) => figures.Where(f => f.Name.StartsWith(begin, StringComparison.Ordinal)).Sum(f => f.Total) / 1e6;
    }

    public void Dispose()
    {
        _timer?.Dispose();
        _sequences?.Dispose();
        _backend?.Dispose();
        _device.Dispose();
    }

    private KernelFigure[] Kernels(int rows)
    {
        var figures = KernelBreakdown.Measure(_backend.Stream, _timer, _model.LayerCount, captured: true, 10, () => _backend.Forward.Decode(_backend.Queue.Graphs.BucketOf(rows)));
        _sequences.RestoreLengths();
        return figures;
    }

    /// <summary>Bytes of cache that one row's step reads at this length, of all layers.</summary>
    private long RowBytes(int length)
    {
        var (spec, layout) = (Info.Spec, _backend.Cache.Layout);
        var exact = 2L * layout.ExactPlaneBytes / PageLayout.PageSize;
        var dense = spec.DenseLayers.Length * exact * length;
        if (spec.IsDense)
        {
            return dense;
        }

        var window = length - CacheTimeline.WindowStart(length, spec) + CacheTimeline.SinkCount(length, spec);
        var selected = CacheTimeline.SelectedCount(length, spec);
        var candidates = CacheTimeline.CandidateCount(length, spec);
        var scan = candidates > selected ? (long)candidates * layout.ScorePlaneBytes / PageLayout.PageSize : 0;
        return dense + (spec.SparseLayers.Length * (scan + ((long)selected * layout.LatentLayerBytes / PageLayout.PageSize) + (window * exact)));
    }

    /// <summary>Floating-point operations of the products of all layers; a multiply-add is two.</summary>
    private double Linear(int tokens) =>
        2.0 * tokens * _model.LayerCount * _model.HiddenSize * ((2.0 * _model.QueryWidth) + (2.0 * _model.KeyWidth) + (3.0 * _model.IntermediateSize));

    private double Attention(int tokens) => 2.0 * _model.LayerCount * _model.QueryWidth * tokens * (tokens + 1.0);
}
