using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.SampleToken;

/// <summary>Sampling settings of a slot as sampling.cuh reads them: 64 bytes, the same order.</summary>
public readonly record struct SlotSampling
{
    /// <summary>0 = greedy.</summary>
    public float Temperature { get; init; }

    public float TopP { get; init; }
    public float MinP { get; init; }
    public float Presence { get; init; }
    public float Frequency { get; init; }
    public float Repetition { get; init; }
    public int TopK { get; init; }
    public int PromptLength { get; init; }
    public int MinTokens { get; init; }
    public int BiasCount { get; init; }
    public int HeldCount { get; init; }

    /// <summary>-1 none, 0 of the token, N of the N most probable too.</summary>
    public int LogProbabilities { get; init; }

    /// <summary>1 when a penalty reads token counts.</summary>
    public int Counts { get; init; }

    public uint Stream { get; init; }
    public ulong Seed { get; init; }
}

/// <summary>An entry of logit_bias.</summary>
public readonly record struct LogitBias(int Id, float Bias);

/// <summary>What sampling knows of every slot, in device memory.</summary>
/// <param name="Sampling">[SLOTS]</param>
/// <param name="Length">[SLOTS + 1], the row's input counted in</param>
/// <param name="LastToken">[SLOTS + 1], written</param>
/// <param name="Bias">[SLOTS, MaxBias]</param>
/// <param name="Held">[SLOTS, MaxHeld]</param>
/// <param name="Counts">[SLOTS, V]</param>
/// <param name="Prompt">[SLOTS, ceil(V / 32)]</param>
public readonly record struct SamplingState(
    DevicePtr<SlotSampling> Sampling,
    DevicePtr<int> Length,
    DevicePtr<int> LastToken,
    DevicePtr<LogitBias> Bias,
    DevicePtr<int> Held,
    DevicePtr<ushort> Counts,
    DevicePtr<uint> Prompt);

/// <summary>What sampling writes.</summary>
/// <param name="Token">[B]</param>
/// <param name="LogProbability">[B]</param>
/// <param name="TargetLogProbability">[B]</param>
/// <param name="TopId">[B, MaxTop]</param>
/// <param name="TopLogProbability">[B, MaxTop]</param>
public readonly record struct SampledTokens(
    DevicePtr<int> Token, DevicePtr<float> LogProbability, DevicePtr<float> TargetLogProbability, DevicePtr<int> TopId, DevicePtr<float> TopLogProbability);

/// <summary>Launcher of sample_token.cu: one token per row from its logits.</summary>
public sealed class SampleTokenKernel(KernelModule module)
{
    /// <summary>Most entries of logit_bias.</summary>
    public const int MaxBias = 1024;

    /// <summary>Most ids held back by min_tokens.</summary>
    public const int MaxHeld = 64;

    /// <summary>Most alternatives reported.</summary>
    public const int MaxTop = 20;

    private const int Threads = 512;

    // blocks of a cluster, as in cluster.cuh
    private const int Split = 4;

    private readonly Kernel _kernel = module.Get("sample_token");

    /// <param name="vocabulary">V, the width of the logits.</param>
    /// <param name="sampleable">Ids that may be drawn, at most V: the rest is padding of the checkpoint.</param>
    public static KernelProgram Program(int slots, int vocabulary, int sampleable) =>
        KernelProgram.Create<Arguments>(
            "sample_token.cu", ("SLOTS", slots), ("V", vocabulary), ("SAMPLEABLE", sampleable), ("MAX_BIAS", MaxBias), ("MAX_HELD", MaxHeld));

    /// <param name="rows">[B]</param>
    /// <param name="masks">[B], index into <paramref name="bitmaps"/> or -1</param>
    /// <param name="bitmaps">[.., ceil(V / 32)]</param>
    /// <param name="logits">[.., V]</param>
    /// <param name="work">[B, V]</param>
    public void Launch(
        CudaStream stream,
        DevicePtr<StepRow> rows,
        DevicePtr<int> masks,
        DevicePtr<uint> bitmaps,
        SamplingState state,
        DevicePtr<float> logits,
        DevicePtr<float> work,
        SampledTokens sampled,
        int rowCount)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(rowCount);
        var arguments = new Arguments
        {
            Rows = rows,
            Masks = masks,
            Bitmaps = bitmaps,
            Sampling = state.Sampling,
            Length = state.Length,
            Bias = state.Bias,
            Held = state.Held,
            Counts = state.Counts,
            Prompt = state.Prompt,
            Logits = logits,
            Work = work,
            LastToken = state.LastToken,
            Token = sampled.Token,
            LogProbability = sampled.LogProbability,
            TargetLogProbability = sampled.TargetLogProbability,
            TopId = sampled.TopId,
            TopLogProbability = sampled.TopLogProbability,
        };
        _kernel.Launch(stream, new Extent(rowCount * (_kernel.HasClusters ? Split : 1)), new Extent(Threads), 0, arguments, overlap: true);
    }

    private struct Arguments
    {
        public DevicePtr<StepRow> Rows;
        public DevicePtr<int> Masks;
        public DevicePtr<uint> Bitmaps;
        public DevicePtr<SlotSampling> Sampling;
        public DevicePtr<int> Length;
        public DevicePtr<LogitBias> Bias;
        public DevicePtr<int> Held;
        public DevicePtr<ushort> Counts;
        public DevicePtr<uint> Prompt;
        public DevicePtr<float> Logits;
        public DevicePtr<float> Work;
        public DevicePtr<int> LastToken;
        public DevicePtr<int> Token;
        public DevicePtr<float> LogProbability;
        public DevicePtr<float> TargetLogProbability;
        public DevicePtr<int> TopId;
        public DevicePtr<float> TopLogProbability;
    }
}
