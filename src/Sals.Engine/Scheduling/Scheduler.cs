using Sals.Engine.Backends;
using Sals.Engine.Paging;

namespace Sals.Engine.Scheduling;

/// <summary>
/// Decides what the next step holds and takes in what a step sampled. Owns sequences, slots, lanes and pages; touched by the engine thread only.
/// Knows of the backend nothing but its <see cref="BackendInfo"/>.
/// </summary>
public sealed class Scheduler
{
    private readonly BackendInfo _info;
    private readonly EngineOptions _options;
    private readonly EngineStats _stats;
    private readonly TokenPublisher _publisher;
    private readonly CachePools _pools;
    private readonly SlotTable _slots;
    private readonly Admission _admission;
    private readonly StepAccounts _accounts;
    private readonly PrefillPlanner _prefillPlanner;
    private readonly WaitingQueue _waiting = new();

    private readonly RunningSequences _running;
    private readonly LeavingSequences _leaving;
    private readonly List<Prefill> _prefilling = [];
    private readonly List<Prefill> _planned = [];
    private readonly List<(PoolKind Pool, int Page)> _inFlightPages = [];
    private long _arrivals;
    private long _stepNumber;

    public Scheduler(BackendInfo info, EngineOptions options, EngineStats stats, TimeProvider time)
    {
        _info = info;
        _options = options;
        _stats = stats;
        _publisher = new TokenPublisher(stats, time);
        _pools = new CachePools(info);
        _slots = new SlotTable(info.SlotCount);
        _admission = new Admission(info, _pools, _slots, _waiting, _publisher, stats);
        _accounts = new StepAccounts(stats, _pools, info.Spec, _admission.Lanes);
        _prefillPlanner = new PrefillPlanner(info, options);
        _running = new RunningSequences(sequence => Preempt(sequence));
        _leaving = new LeavingSequences(_slots, _waiting);
    }

    /// <summary>Anything to plan, or anything whose end must still be seen.</summary>
    public bool HasWork => _waiting.Count + _running.Count + _prefilling.Count + _planned.Count + _leaving.Count > 0;

    public void Add(Generation generation)
    {
        generation.Arrival = _arrivals++;
        _waiting.Enqueue(new Prefill(generation.Choices));
        UpdateGauges();
    }

    /// <summary>Ends one choice, or all for -1, wherever they are; ended choices are left alone.</summary>
    public void Abort(Generation generation, int choice)
    {
        foreach (var sequence in generation.Choices)
        {
            if ((choice < 0 || choice == sequence.Choice) && sequence.State != SequenceState.Finished)
            {
                Finish(sequence, FinishReason.Abort, null);
            }
        }

        UpdateGauges();
    }

    /// <summary>
    /// Takes slot and pages from a running sequence as soon as no step in flight names it; it waits again, prefills its prompt again and replays
    /// its tokens. False when it is not running.
    /// </summary>
    public bool Preempt(Sequence sequence)
    {
        if (!_running.Remove(sequence))
        {
            return false;
        }

        sequence.State = SequenceState.Preempted;
        sequence.Generation.Handle.Trace.Preemptions++;
        _stats.Preemptions++;
        _leaving.Add(sequence);
        _leaving.LetGo();
        return true;
    }

    /// <summary>Tells every live choice that the engine failed.</summary>
    public void Fail(IEnumerable<Generation> live, string message)
    {
        foreach (var sequence in live.SelectMany(generation => generation.Choices).Where(sequence => sequence.State != SequenceState.Finished))
        {
            sequence.State = SequenceState.Finished;
            _publisher.End(sequence, FinishReason.Error, message);
        }
    }

    /// <summary>Fills <paramref name="step"/>; false when there is nothing to run.</summary>
    public bool Plan(PlannedStep step)
    {
        step.Clear();
        _stepNumber++;
        _running.PlanRows(step);
        if (_admission.Admit(step, _prefilling, _running.Count, _stepNumber) is { } starved)
        {
            FailIfAlone(starved);
        }

        _prefillPlanner.Plan(step, _prefilling, _planned, _stepNumber);
        foreach (var prefill in _planned)
        {
            Admission.ReturnLane(prefill);
            foreach (var sequence in prefill.Sequences)
            {
                sequence.AddMask(0, step.Plan);
            }

            StartDecoding(prefill);
        }

        _planned.Clear();
        _inFlightPages.AddRange(step.Released);
        return !step.Plan.IsEmpty;
    }

    /// <summary>Takes in the samples of a collected step: publishes tokens, ends sequences, lets go of what no step in flight names.</summary>
    public void Commit(PlannedStep step)
    {
        var row = 0;
        _prefillPlanner.Observe(step);
        foreach (var (sequence, output) in step.Rows)
        {
            sequence.InFlight--;
            _accounts.CountRow(sequence.Generation.Request.Prompt.Length + output, step.Result, row);
            Accept(sequence, output, step.Result, row++);
        }

        for (var i = 0; i < step.Slices.Count; i++)
        {
            CommitSlice(step, i, ref row);
        }

        foreach (var (pool, page) in step.Released)
        {
            _pools.Release(pool, page);
        }

        _inFlightPages.RemoveRange(0, step.Released.Count);
        _leaving.LetGo();
        _accounts.CountStep(step);
        UpdateGauges();
        if (_options.CheckIntegrity)
        {
            CheckIntegrity();
        }
    }

    /// <summary>Gives up every cached prefix (tests, memory pressure).</summary>
    public void ClearPrefixes()
    {
        _pools.Index.Clear();
        UpdateGauges();
    }

    /// <summary>Compares every page's reference count with the tables of all sequences and the index.</summary>
    public void CheckIntegrity()
    {
        var counts = new Dictionary<(PoolKind, int), int>();
        foreach (var page in _inFlightPages)
        {
            counts[page] = counts.GetValueOrDefault(page) + 1;
        }

        var live = _running.All.Concat(_leaving.All).Concat(_prefilling.SelectMany(prefill => prefill.Sequences)).Distinct().ToList();
        live.ForEach(sequence => sequence.Pages?.CountReferences(counts));
        _pools.CheckIntegrity(counts);
        var slots = live.Where(sequence => sequence.Slot >= 0).Select(sequence => sequence.Slot).ToList();
        if (slots.Distinct().Count() != slots.Count || _slots.Free != _info.SlotCount - slots.Count)
        {
            throw new InvalidOperationException($"{_slots.Free} of {_info.SlotCount} slots are free, but {slots.Count} sequences hold one.");
        }
    }

    /// <summary>A prompt that cannot have its pages although nobody else holds any would wait for ever.</summary>
    private void FailIfAlone(Prefill prefill)
    {
        if (_running.Count + _prefilling.Count + _leaving.Count > 0)
        {
            return;
        }

        foreach (var sequence in prefill.Sequences)
        {
            Finish(sequence, FinishReason.Error, $"The request needs more KV cache for {prefill.PromptLength} prompt tokens "
                + $"and {prefill.Sequences.Length} choices than the server has ({_pools.TotalBytes} bytes).");
        }
    }

    /// <summary>The last slice is planned: decode rows may follow in the next plan, before the host has seen a token.</summary>
    private void StartDecoding(Prefill prefill)
    {
        foreach (var sequence in prefill.Sequences)
        {
            if (sequence.State == SequenceState.Prefilling)
            {
                sequence.State = SequenceState.Running;
                _running.Add(sequence);
            }
        }
    }

    private void CommitSlice(PlannedStep step, int index, ref int row)
    {
        var prefill = step.Slices[index];
        ref readonly var slice = ref step.Plan.Prefills[index];
        foreach (var sequence in prefill.Sequences)
        {
            sequence.InFlight--;
        }

        if (!slice.Samples)
        {
            return;
        }

        prefill.Sequences[0].Pages!.Register(prefill.Generation.Hashes);
        _waiting.EndPrefix(prefill.Generation.Hashes);
        foreach (var sequence in prefill.Sequences)
        {
            sequence.Prefill = null;
            Accept(sequence, 0, step.Result, row++);
        }
    }

    private void Accept(Sequence sequence, int output, StepResult result, int row)
    {
        if (sequence.State == SequenceState.Finished || output < sequence.Replayed)
        {
            return;
        }

        var reason = _publisher.Token(sequence, output, result, row);
        if (reason != FinishReason.None)
        {
            Leave(sequence);
        }
    }

    private void Finish(Sequence sequence, FinishReason reason, string? message)
    {
        _publisher.End(sequence, reason, message);
        Leave(sequence);
    }

    /// <summary>The sequence has had its finishing event: out of every queue now, out of slot and pages when no step names it.</summary>
    private void Leave(Sequence sequence)
    {
        var before = sequence.State;
        sequence.State = SequenceState.Finished;
        if (before == SequenceState.Waiting)
        {
            _waiting.Remove(sequence);
            return;
        }

        _running.Remove(sequence);
        if (before != SequenceState.Preempted)
        {
            _leaving.Add(sequence);
        }

        if (sequence.Prefill is { Abandoned: true, Lane: not null } prefill)
        {
            _prefilling.Remove(prefill);
            Admission.ReturnLane(prefill);
            _waiting.EndPrefix(prefill.Generation.Hashes);
            Array.ForEach(prefill.Sequences, other => other.Prefill = null);
        }

        _leaving.LetGo();
    }

    private void UpdateGauges()
    {
        var running = _running.Count;
        foreach (var prefill in _prefilling)
        {
            running += prefill.Sequences.Length;
        }

        _accounts.UpdateGauges(running, _waiting.Count, !HasWork);
    }
}
