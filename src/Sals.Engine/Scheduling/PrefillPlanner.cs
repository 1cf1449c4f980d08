using Sals.Engine.Backends;

namespace Sals.Engine.Scheduling;

/// <summary>
/// Chooses the prefill slices of a step: the prompt with the least work left first, but in every fourth step the oldest, so that none starves; within
/// a time budget beside decode rows, else one whole layer. The estimates of <see cref="PrefillCost"/> are corrected by what steps took:
/// a device that slows down under load must not slow down the decode rows. Short neighbours in a lane go together (<see cref="PromptPack"/>).
/// What a prompt computes does not depend on how it is sliced or with whom it goes.
/// </summary>
public sealed class PrefillPlanner
{
    // every so many steps the oldest prompt goes first: the share of the work that no newcomer can take from it
    private const int OldestFirst = 4;

    // shorter measurements are mostly launches
    private const double LeastObserved = 1;
    private const double ObservedWeight = 0.2;

    private readonly BackendInfo _info;
    private readonly EngineOptions _options;
    private readonly Comparison<Prefill> _byUrgency;
    private readonly List<Prefill> _pack = [];

    // milliseconds of a device per millisecond of the estimate
    private double _pace = 1;

    public PrefillPlanner(BackendInfo info, EngineOptions options)
    {
        _info = info;
        _options = options;
        _byUrgency = (a, b) => Left(a).CompareTo(Left(b)) is var order && order != 0 ? order
            : a.StartedStep.CompareTo(b.StartedStep) is var age && age != 0 ? age
            : a.LaneOffset.CompareTo(b.LaneOffset);
    }

    /// <summary>Takes in how long the slices of a collected step really took.</summary>
    public void Observe(PlannedStep step)
    {
        var (estimate, measured) = (step.PrefillMilliseconds, step.Result.PrefillMilliseconds);
        if (estimate > 0 && measured > 0 && Math.Max(estimate, measured) >= LeastObserved)
        {
            _pace += ObservedWeight * (Math.Clamp(measured / estimate, 0.25, 4) - _pace);
        }
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

        active.Sort(_byUrgency);
        if (stepNumber % OldestFirst == 0)
        {
            MoveOldestFirst(active);
        }

        AddSlices(step, active);

        // of a pack all end together, wherever they stand in the order
        for (var i = 0; i < active.Count; i++)
        {
            if (active[i].Layer == _info.LayerCount)
            {
                done.Add(active[i]);
                active.RemoveAt(i--);
            }
        }
    }

    private void AddSlices(PlannedStep step, List<Prefill> active)
    {
        var alone = step.Plan.Decodes.Count == 0;
        var budget = _options.PrefillBudgetMilliseconds;
        var tokens = Math.Max(_options.MaxBatchedTokens, _info.PrefillChunk);
        var (first, ended) = (true, false);
        foreach (var prefill in active)
        {
            while (prefill.Layer < _info.LayerCount && step.Plan.Prefills.Free > 0 && tokens > 0)
            {
                var rows = FindPack(prefill, active, Math.Min(tokens, _info.PrefillChunk), step.Plan.Prefills.Free);
                var (layers, end, estimate) = _pack.Count > 1 ? NextPack(rows, budget, first) : NextSlice(prefill, budget, tokens, first, alone);
                if (layers == 0)
                {
                    return;
                }

                step.PrefillMilliseconds += layers * estimate;
                budget -= _pace * layers * estimate;
                tokens -= _pack.Count > 1 ? rows : end - prefill.Token;
                foreach (var member in _pack)
                {
                    Add(step, member, layers, _pack.Count > 1 ? member.PromptLength : end);
                }

                // the head runs once for all prompts that end in a step
                budget -= prefill.Layer == _info.LayerCount && !ended ? _info.PrefillCost.PerEnd : 0;
                ended |= prefill.Layer == _info.LayerCount;
                first = false;
            }
        }
    }

    /// <summary>Fills the pack with the prompt and its neighbours in lane order, if a pack is to be had; returns its tokens to compute.</summary>
    private int FindPack(Prefill prefill, List<Prefill> active, int most, int slices)
    {
        _pack.Clear();
        _pack.Add(prefill);
        var rows = prefill.PromptLength - prefill.HistoryLength;
        if (!_info.PacksPrompts || prefill.Token != prefill.HistoryLength || rows >= most)
        {
            return rows;
        }

        for (var i = 0; i < active.Count && _pack.Count < slices; i++)
        {
            var other = active[i];
            var (head, tail) = (_pack[0], _pack[^1]);
            var added = other.PromptLength - other.HistoryLength;
            if (other.Lane != prefill.Lane || other.Layer != prefill.Layer || other.Token != other.HistoryLength || rows + added > most)
            {
                continue;
            }

            // the pages of a cached prefix are read in front of the rows that are computed: only the first may have one
            var before = other.LaneOffset + other.PromptLength == head.LaneOffset && head.HistoryLength == 0;
            if (before || (other.LaneOffset == tail.LaneOffset + tail.PromptLength && other.HistoryLength == 0))
            {
                _pack.Insert(before ? 0 : _pack.Count, other);
                rows += added;

                // whoever did not touch the pack may touch it now
                i = -1;
            }
        }

        return rows;
    }

    /// <summary>Layers for the pack, and the estimate of one; 0 layers = nothing fits.</summary>
    private (int Layers, int End, double Estimate) NextPack(int rows, double budget, bool first)
    {
        var head = _pack[0];
        var cost = _info.PrefillCost;
        var estimate = cost.Milliseconds(0, rows) + (cost.PerPair * head.HistoryLength * (head.PromptLength - head.HistoryLength));
        var layers = Math.Min(budget / (_pace * estimate), _info.LayerCount - head.Layer);
        return (layers >= 1 ? (int)layers : first ? 1 : 0, 0, estimate);
    }

    /// <summary>Layers and end token of the longest slice that fits, and the estimate of one layer; 0 layers = nothing fits. The first slice of a step always gets one chunk.</summary>
    private (int Layers, int End, double Estimate) NextSlice(Prefill prefill, double budget, int tokens, bool first, bool alone)
    {
        var length = prefill.PromptLength;
        var rest = length - prefill.Token;
        var layerCost = Cost(prefill.Token, length);
        if (rest <= tokens && (layerCost <= budget || (first && alone)))
        {
            var layers = 1;
            if (prefill.Token == prefill.HistoryLength && layerCost > 0)
            {
                layers = Math.Clamp((int)Math.Min(budget / layerCost, _info.LayerCount), 1, _info.LayerCount - prefill.Layer);
            }

            return Slice(layers, length);
        }

        var chunk = _info.PrefillChunk;
        var end = prefill.Token;
        while (end + chunk < length && end + chunk - prefill.Token <= tokens && ((first && alone) || Cost(prefill.Token, end + chunk) <= budget))
        {
            end += chunk;
        }

        return end > prefill.Token ? Slice(1, end)
            : first ? Slice(1, Math.Min(end + chunk, length))
            : Slice(0, end);

        (int, int, double) Slice(int layers, int to) => (layers, to, _info.PrefillCost.Milliseconds(prefill.Token, to));
    }

    private double Cost(int first, int end) => _pace * _info.PrefillCost.Milliseconds(first, end);

    private static void MoveOldestFirst(List<Prefill> active)
    {
        var oldest = 0;
        for (var i = 1; i < active.Count; i++)
        {
            oldest = active[i].StartedStep < active[oldest].StartedStep ? i : oldest;
        }

        var prefill = active[oldest];
        active.RemoveAt(oldest);
        active.Insert(0, prefill);
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

    /// <summary>Estimated milliseconds until the prompt's first token.</summary>
    private double Left(Prefill prefill) =>
        (_info.PrefillCost.Milliseconds(prefill.HistoryLength, prefill.PromptLength) * (_info.LayerCount - prefill.Layer - 1))
        + _info.PrefillCost.Milliseconds(prefill.Token, prefill.PromptLength);
}
