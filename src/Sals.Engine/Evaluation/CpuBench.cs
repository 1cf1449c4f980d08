using System.Diagnostics;
using Sals.Engine.Backends.Cpu;
using Sals.Engine.Models;

namespace Sals.Engine.Evaluation;

/// <summary>What `sals bench --device cpu` prints: step times beside the ceilings of the machine, measured in the same run.</summary>
/// <param name="LoadSeconds">Packing the weights, warming up and measuring the cost of prefill.</param>
/// <param name="Steps">Times.</param>
/// <param name="Ceilings">Taken before and after the steps; the better of each, so that a share is never flattered by a bad moment.</param>
/// <param name="Memory">Bytes the backend holds after the run.</param>
/// <param name="DecodeWeightBytes">Weights that one decode step reads.</param>
/// <param name="FlopsPerToken">Of the matrix products of one decoded token, head included; attention is not counted.</param>
/// <param name="PrefillFlops">Of the whole prompt's matrix products: the head and the last layer's output run for one token only.</param>
public sealed record CpuBenchResult(
    double LoadSeconds, StepBenchResult Steps, CpuCeilings Ceilings, CpuMemory Memory, long DecodeWeightBytes, double FlopsPerToken, double PrefillFlops)
{
    /// <summary>Weight bytes per second of one stream's decoding.</summary>
    public double DecodeBytesPerSecond => DecodeWeightBytes / Steps.StepSeconds;

    /// <summary>Operations per second of prefill.</summary>
    public double PrefillFlopsPerSecond => PrefillFlops / Steps.PrefillSeconds;

    /// <summary>Operations per second of the decoding batch.</summary>
    public double BatchFlopsPerSecond => FlopsPerToken * Steps.Batch / Steps.BatchStepSeconds;

    /// <summary>Share of the read ceiling, 0 .. about 1; above 1 where the weights stay in a cache that the read test overflows.</summary>
    public double DecodeShare => DecodeBytesPerSecond / Ceilings.ReadBytesPerSecond;

    public double PrefillShare => PrefillFlopsPerSecond / Ceilings.FlopsPerSecond;
}

/// <summary>Benchmark of the CPU backend alone.</summary>
public static class CpuBench
{
    /// <summary>Builds a backend, runs <see cref="StepBench"/> and gives everything back. A few seconds for a small model.</summary>
    /// <exception cref="ArgumentException">The sequences do not fit the options.</exception>
    public static CpuBenchResult Run(ModelWeights weights, CpuBackendOptions options, int promptLength = 1024, int context = 128, int steps = 64, int batch = 8)
    {
        var started = Stopwatch.GetTimestamp();
        using var backend = new CpuBackend(weights, options);
        var load = Stopwatch.GetElapsedTime(started).TotalSeconds;
        var before = CpuCeilings.Measure(options.Threads);
        var times = new StepBench(backend).Run(promptLength, context, steps, batch);
        var after = CpuCeilings.Measure(options.Threads);
        var ceilings = new CpuCeilings(
            Math.Max(before.ReadBytesPerSecond, after.ReadBytesPerSecond), Math.Max(before.FlopsPerSecond, after.FlopsPerSecond));

        var c = weights.Config;
        double projections = (double)c.HiddenSize * (c.QueryWidth + (2 * c.KeyWidth));
        var rest = ((double)c.HiddenSize * c.QueryWidth) + (3.0 * c.HiddenSize * c.IntermediateSize);
        var head = (double)c.HiddenSize * c.VocabularySize;
        var perToken = 2 * ((c.LayerCount * (projections + rest)) + head);
        var prefill = 2 * (((double)promptLength * ((c.LayerCount * projections) + ((c.LayerCount - 1) * rest))) + rest + head);
        return new CpuBenchResult(load, times, ceilings, backend.Memory, backend.DecodeWeightBytes, perToken, prefill);
    }
}
