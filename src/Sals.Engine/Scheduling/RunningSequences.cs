namespace Sals.Engine.Scheduling;

/// <summary>
/// Sequences that get a decode row in every step, the most important first. Where memory is short the least important give up their pages for the others.
/// Engine thread only.
/// </summary>
/// <param name="preempt">Takes a sequence out of here; its pages are back at once unless a step in flight names it.</param>
public sealed class RunningSequences(Action<Sequence> preempt)
{
    private readonly List<Sequence> _running = [];

    public int Count => _running.Count;

    public IReadOnlyList<Sequence> All => _running;

    public void Add(Sequence sequence)
    {
        var at = _running.FindIndex(other => Sequence.CompareImportance(other, sequence) > 0);
        _running.Insert(at < 0 ? _running.Count : at, sequence);
    }

    /// <summary>False when it is not running.</summary>
    public bool Remove(Sequence sequence) => _running.Remove(sequence);

    /// <summary>One row of every sequence that may have one; flushes and page edits with it.</summary>
    public void PlanRows(PlannedStep step)
    {
        for (var i = 0; i < _running.Count; i++)
        {
            var sequence = _running[i];
            if (!sequence.WantsRow || !sequence.MayPlan(sequence.RowsPlanned + 1) || !sequence.Pages!.TrySend(sequence.Slot, step.Plan, step.Released))
            {
                continue;
            }

            var length = sequence.Length + 1;
            if (!sequence.Pages.Fits(length, step.Plan))
            {
                continue;
            }

            var extended = sequence.Pages.TryExtend(sequence.Length, sequence.Slot, step.Plan);
            while (!extended && PreemptBehind(i))
            {
                extended = sequence.Pages!.TryExtend(sequence.Length, sequence.Slot, step.Plan);
            }

            if (!extended)
            {
                // preempted itself, or the victim's pages come back only when its step in flight is collected
                continue;
            }

            var flushes = step.Plan.Flushes.Count;
            sequence.Pages.Flush(length, sequence.Slot, step.Plan, step.Released, sequence.Generation.Hashes);
            sequence.Generation.Handle.Trace.FlushedPages += step.Plan.Flushes.Count - flushes;
            step.Plan.Decodes.Add(new DecodeRow(sequence.Slot, sequence.NextInput, sequence.ForcedOutput(sequence.RowsPlanned + 1)));
            sequence.AddMask(sequence.RowsPlanned + 1, step.Plan);
            sequence.RowsPlanned++;
            sequence.InFlight++;
            step.Rows.Add((sequence, sequence.RowsPlanned));
        }
    }

    /// <summary>
    /// Preempts the least important running sequence, at the latest the one at <paramref name="index"/> itself. True when memory came back at once;
    /// false when the caller must wait or has itself been preempted.
    /// </summary>
    private bool PreemptBehind(int index)
    {
        var requester = _running[index];
        var victim = _running[^1];
        var now = victim.InFlight == 0;
        preempt(victim);
        return now && victim != requester;
    }
}
