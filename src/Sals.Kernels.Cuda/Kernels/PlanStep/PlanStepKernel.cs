using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Kernels.SampleToken;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.PlanStep;

/// <summary>One row of a step: a slot's decode row, or a row of logits to sample from.</summary>
/// <param name="Slot">SLOTS = padding.</param>
/// <param name="Forced">Input token instead of the last sampled one; -1 = none.</param>
/// <param name="Target">Token whose log-probability is wanted; -1 = none.</param>
/// <param name="LogitsRow">Row of the logits.</param>
public readonly record struct StepRow(int Slot, int Forced, int Target, int LogitsRow);

/// <summary>Buffers that plan_step writes for the rest of the step.</summary>
/// <param name="Token">[B]</param>
/// <param name="Position">[B]</param>
/// <param name="Slot">[B]</param>
/// <param name="Runs">Runs of every row in a layer that is never compressed, as <see cref="DenseRuns"/> counts them.</param>
public readonly record struct StepInputs(DevicePtr<int> Token, DevicePtr<int> Position, DevicePtr<int> Slot, WorkList Runs)
{
    /// <summary>The same of the rows alone that have no latent page, for the compressed layers; of a compressed cache only, as the following.</summary>
    public WorkList ExactRuns { get; init; }

    /// <summary>Items of the other rows in a compressed layer, as <see cref="AttendItems"/> counts them.</summary>
    public WorkList Items { get; init; }

    /// <summary>What each block of score_select has, where the step has few rows.</summary>
    public ScoreParts Parts { get; init; }
}

/// <summary>Launcher of plan_step.cu, the first kernel of a decode step.</summary>
public sealed class PlanStepKernel(KernelModule module)
{
    /// <summary>Rows of the largest step.</summary>
    public const int MaxRows = 256;

    private readonly Kernel _kernel = module.Get("plan_step");

    /// <param name="latent">Of a compressed cache, of which the lists of exact runs and of items and the parts of scoring are written too; null = dense.</param>
    public static KernelProgram Program(int slots, int vocabulary, LatentShape? latent = null) =>
        KernelProgram.Create<Arguments>("plan_step.cu", [("SLOTS", slots), ("V", vocabulary), .. latent?.Defines() ?? []]);

    /// <param name="rows">[B]</param>
    /// <param name="lastToken">[SLOTS + 1]</param>
    /// <param name="length">[SLOTS + 1], the last entry 0</param>
    /// <param name="counts">[SLOTS, V]</param>
    /// <param name="sampling">[SLOTS]</param>
    public void Launch(
        CudaStream stream,
        DevicePtr<StepRow> rows,
        DevicePtr<int> lastToken,
        DevicePtr<int> length,
        DevicePtr<ushort> counts,
        DevicePtr<SlotSampling> sampling,
        StepInputs inputs,
        int rowCount)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(rowCount);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(rowCount, MaxRows);
        var arguments = new Arguments
        {
            Rows = rows,
            LastToken = lastToken,
            Length = length,
            Counts = counts,
            Sampling = sampling,
            Token = inputs.Token,
            Position = inputs.Position,
            Slot = inputs.Slot,
            Runs = inputs.Runs,
            ExactRuns = inputs.ExactRuns,
            Items = inputs.Items,
            Parts = inputs.Parts,
            RowCount = rowCount,
        };
        _kernel.Launch(stream, new Extent(1), new Extent(256), 0, arguments);
    }

    private struct Arguments
    {
        public DevicePtr<StepRow> Rows;
        public DevicePtr<int> LastToken;
        public DevicePtr<int> Length;
        public DevicePtr<ushort> Counts;
        public DevicePtr<SlotSampling> Sampling;
        public DevicePtr<int> Token;
        public DevicePtr<int> Position;
        public DevicePtr<int> Slot;
        public WorkList Runs;
        public WorkList ExactRuns;
        public WorkList Items;
        public ScoreParts Parts;
        public int RowCount;
    }
}
