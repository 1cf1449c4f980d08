using Sals.Engine.Backends;

namespace Sals.Engine.Scheduling;

/// <summary>
/// Chooses the prefill slices of a step: the prompt with the least work left first, older ones aged forward, within a time budget
/// beside decode rows, else one whole layer. What a prompt computes does not depend on how it is sliced.
/// </summary>
public sealed class PrefillPlanner
{
    // milliseconds of work forgiven per step waited: a long prompt overtakes newcomers after some hundred steps
    private const double AgeingPerStep = 5;

    private readonly BackendInfo _info;
    private readonly EngineOptions _options;
    private readonly Comparison<Prefill> _byUrgency;
    private long _stepNumber;

    public PrefillPlanner(BackendInfo info, EngineOptions options)
    {
        _info = info;
        _options = options;
        _byUrgency = (a, b) => Urgency(a).CompareTo(Urgency(b));
    }

    /// <summary>
    /// Adds slices of <paramref name="active"/> to <paramref name="step"/> and advances their cursors; a prompt whose last slice was planned
    /// is moved to <paramref name="done"/>.
    /// </summary>
    public void Plan(PlannedStep step, List<Prefill> active, List<Prefill> done, long stepNumber)
    {
        if (active.Count == 0)
        {
            return;
        }

        _stepNumber = stepNumber;
        active.Sort(_byUrgency);
        var alone = step.Plan.Decodes.Count == 0;
        var budget = _options.PrefillBudgetMilliseconds;
        var tokens = Math.Max(_options.MaxBatchedTokens, _info.PrefillChunk);
        var first = true;
        for (var i = 0; i < active.Count; i++)
        {
            while (active[i].Layer < _info.LayerCount && step.Plan.Prefills.Free > 0 && tokens > 0)
            {
                var (layers, end) = NextSlice(active[i], budget, tokens, first, alone);
                if (layers == 0)
                {
                    return;
                }

                var cost = layers * _info.PrefillCost.Milliseconds(active[i].Token, end);
                tokens -= end - active[i].Token;
                Add(step, active[i], layers, end);
                budget -= cost;
                first = false;
            }

            if (active[i].Layer == _info.LayerCount)
            {
                done.Add(active[i]);
                active.RemoveAt(i--);
            }
        }
    }

    /// <summary>Layers and end token of the longest slice that fits; 0 layers = nothing fits. The first slice of a step always gets one chunk.</summary>
    private (int Layers, int End) NextSlice(Prefill prefill, double budget, int tokens, bool first, bool alone)
    {
        var length = prefill.PromptLength;
        var rest = length - prefill.Token;
        var layerCost = _info.PrefillCost.Milliseconds(prefill.Token, length);
        if (rest <= tokens && (layerCost <= budget || (first && alone)))
        {
            var layers = 1;
            if (prefill.Token == prefill.HistoryLength && layerCost > 0)
            {
                layers = Math.Clamp((int)Math.Min(budget / layerCost, _info.LayerCount), 1, _info.LayerCount - prefill.Layer);
            }

            return (layers, length);
        }

        var chunk = _info.PrefillChunk;
        var end = prefill.Token;
        while (end + chunk < length && end + chunk - prefill.Token <= tokens
            && ((first && alone) || _info.PrefillCost.Milliseconds(prefill.Token, end + chunk) <= budget))
        {
            end += chunk;
        }

        if (end > prefill.Token)
        {
            return (1, end);
        }

        return first ? (1, Math.Min(end + chunk, length)) : (0, end);
    }

    private void Add(PlannedStep step, Prefill prefill, int layers, int end)
    {
        var last = prefill.Layer + layers == _info.LayerCount && end == prefill.PromptLength;
        step.Plan.Prefills.Add(new PrefillSlice(
            prefill.Lane!.Number,
            prefill.LaneOffset,
            prefill.Slots,
            prefill.Generation.Request.Prompt,
            prefill.HistoryLength,
            prefill.Layer,
            prefill.Layer + layers,
            prefill.Token,
            end,
            last,
            last ? prefill.Sequences[0].ForcedOutput(0) : -1));
        step.Slices.Add(prefill);
        foreach (var sequence in prefill.Sequences)
        {
            sequence.InFlight++;
        }

        if (end == prefill.PromptLength)
        {
            prefill.Layer += layers;
            prefill.Token = prefill.HistoryLength;
        }
        else
        {
            prefill.Token = end;
        }
    }

    private double Urgency(Prefill prefill)
    {
        var layer = _info.PrefillCost.Milliseconds(prefill.HistoryLength, prefill.PromptLength);
        var left = layer * (_info.LayerCount - prefill.Layer - 1) + _info.PrefillCost.Milliseconds(prefill.Token, prefill.PromptLength);
        return left - AgeingPerStep * (_stepNumber - prefill.StartedStep);
    }
}
