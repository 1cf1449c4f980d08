namespace Sals.Engine.Scheduling;

/// <summary>Sequences that have ended or been preempted, but are named by a step in flight or by their prefill. Engine thread only.</summary>
public sealed class LeavingSequences(SlotTable slots, WaitingQueue waiting)
{
    private readonly List<Sequence> _leaving = [];

    public int Count => _leaving.Count;

    public IReadOnlyList<Sequence> All => _leaving;

    public void Add(Sequence sequence) => _leaving.Add(sequence);

    /// <summary>Frees slots and pages of those that nothing names any more; preempted ones wait again.</summary>
    public void LetGo()
    {
        for (var i = _leaving.Count - 1; i >= 0; i--)
        {
            var sequence = _leaving[i];
            if (sequence.InFlight > 0 || sequence.Prefill is not null)
            {
                continue;
            }

            _leaving.RemoveAt(i);
            sequence.Pages!.Release();
            sequence.Pages = null;
            slots.Return(sequence.Slot);
            sequence.Slot = -1;
            if (sequence.State == SequenceState.Preempted)
            {
                sequence.State = SequenceState.Waiting;
                waiting.Enqueue(new Prefill([sequence]));
            }
        }
    }
}
