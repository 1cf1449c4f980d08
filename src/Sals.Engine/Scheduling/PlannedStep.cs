using Sals.Engine.Paging;

namespace Sals.Engine.Scheduling;

/// <summary>A step plan together with whom it concerns, from planning to collection. Two instances alternate.</summary>
public sealed class PlannedStep
{
    public PlannedStep(int slots, int maxModelLength)
    {
        Plan = new StepPlan(slots, maxModelLength);
        Result = new StepResult(2 * slots);
    }

    public StepPlan Plan { get; }

    public StepResult Result { get; }

    /// <summary>Whose decode row, in plan order, and the number of the output it samples.</summary>
    public List<(Sequence Sequence, int Output)> Rows { get; } = [];

    /// <summary>Whose prefill slice, in plan order.</summary>
    public List<Prefill> Slices { get; } = [];

    /// <summary>Estimated time of the slices, milliseconds, as <see cref="Backends.PrefillCost"/> has it.</summary>
    public double PrefillMilliseconds { get; set; }

    /// <summary>Pages whose last reader is this step.</summary>
    public List<(PoolKind Pool, int Page)> Released { get; } = [];

    public void Clear()
    {
        Plan.Clear();
        Rows.Clear();
        Slices.Clear();
        Released.Clear();
        PrefillMilliseconds = 0;
    }
}
