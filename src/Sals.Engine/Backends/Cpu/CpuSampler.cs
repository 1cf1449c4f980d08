using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Scheduling;

namespace Sals.Engine.Backends.Cpu;

/// <summary>A row to sample.</summary>
/// <param name="Slot">Slot that gets the token.</param>
/// <param name="FinalRow">Row of the logits; the choices of one prompt share it.</param>
/// <param name="TargetToken">As in <see cref="DecodeRow"/>.</param>
internal readonly record struct SampledRow(int Slot, int FinalRow, int TargetToken);

/// <summary>Samples the rows of a step from the logits of a forward, shared out to the team.</summary>
internal sealed class CpuSampler
{
    private readonly WorkerTeam _team;
    private readonly CpuForward _forward;
    private readonly CpuSlot[] _slots;
    private readonly int _sampleable;
    private readonly SampleWorkspace[] _work;
    private readonly Action<int, int> _sampleRow;

    // of the step whose rows the team is sampling
    private StepPlan? _plan;
    private StepResult? _result;
    private SampledRow[] _rows = [];

    /// <param name="vocabulary">V, of the logits.</param>
    /// <param name="sampleable">Ids from here on are padding.</param>
    public CpuSampler(WorkerTeam team, CpuForward forward, CpuSlot[] slots, int vocabulary, int sampleable)
    {
        (_team, _forward, _slots, _sampleable) = (team, forward, slots, sampleable);
        _work = [.. Enumerable.Range(0, team.Count).Select(_ => new SampleWorkspace(vocabulary))];
        _sampleRow = SampleRow;
    }

    /// <summary>Tokens, and log-probabilities where they are asked for, of <paramref name="count"/> rows, whose logits the forward has computed.</summary>
    public void Run(StepPlan plan, SampledRow[] rows, int count, StepResult result)
    {
        (_plan, _rows, _result) = (plan, rows, result);
        _team.Run(count, _sampleRow);
        (_plan, _result) = (null, null);
    }

    private void SampleRow(int i, int worker)
    {
        var (slot, finalRow, target) = _rows[i];
        var result = _result!;
        var work = _work[worker];
        var state = _slots[slot];
        var raw = _forward.Logits(finalRow)[.._sampleable];
        var logits = work.Logits.AsSpan(0, _sampleable);
        raw.CopyTo(logits);
        var token = SampleToken.Run(logits, state, Mask(slot), work);
        state.LastToken = token;
        result.Slots[i] = slot;
        result.Tokens[i] = token;
        var top = Math.Min(state.Sampling.LogProbabilities, StepResult.MaxTop);
        if (top >= 0 || target >= 0)
        {
            var logSumExp = LogProbabilities.LogSumExp(raw, work.Values.AsSpan(0, _sampleable));
            result.LogProbabilities[i] = raw[token] - logSumExp;
            result.TargetLogProbabilities[i] = target >= 0 ? raw[target] - logSumExp : 0;
            if (top > 0)
            {
                LogProbabilities.Top(
                    raw, logSumExp, result.TopIds.AsSpan(i * StepResult.MaxTop, top), result.TopLogProbabilities.AsSpan(i * StepResult.MaxTop, top));
            }
        }
    }

    private ReadOnlySpan<uint> Mask(int slot)
    {
        foreach (var mask in _plan!.Masks.Items)
        {
            if (mask.Slot == slot)
            {
                return mask.Bits;
            }
        }

        return [];
    }
}
