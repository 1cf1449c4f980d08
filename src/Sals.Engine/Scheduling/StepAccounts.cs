using Sals.Engine.Latent;
using Sals.Engine.Paging;

namespace Sals.Engine.Scheduling;

/// <summary>Keeps the counters and gauges of <see cref="EngineStats"/> that steps and page movements change. Engine thread only.</summary>
public sealed class StepAccounts
{
    private readonly EngineStats _stats;
    private readonly CachePools _pools;
    private readonly LatentSpec _spec;
    private readonly PrefillLane[] _lanes;

    public StepAccounts(EngineStats stats, CachePools pools, LatentSpec spec, PrefillLane[] lanes)
    {
        _stats = stats;
        _pools = pools;
        _spec = spec;
        _lanes = lanes;
        stats.CacheBytesTotal = pools.TotalBytes;
        stats.SetLaneCount(lanes.Length);
    }

    /// <summary>A collected decode row that saw <paramref name="length"/> tokens, its own included.</summary>
    public void CountRow(int length, StepResult result, int row)
    {
        _stats.ContextTokens += length;
        var layers = result.SparseLayers[row];
        if (layers > 0)
        {
            _stats.SparseRows++;
            _stats.SparseLayerRows += layers;
            _stats.ScoredLayerRows += result.ScoredLayers[row];
            _stats.CandidateTokens += CacheTimeline.CandidateCount(length, _spec);
            _stats.SelectedTokens += result.SelectedTokens[row] / layers;
        }
    }

    public void CountStep(PlannedStep step)
    {
        // a prompt's tokens count once, when they enter the first layer
        var prefillTokens = 0;
        foreach (ref readonly var slice in step.Plan.Prefills.Items)
        {
            prefillTokens += slice.FirstLayer == 0 ? slice.EndToken - slice.FirstToken : 0;
        }

        _stats.Steps++;
        _stats.DecodeRows += step.Rows.Count;
        _stats.PrefillTokens += prefillTokens;
        _stats.Flushes += step.Plan.Flushes.Count;
        _stats.StepTokens.Observe(step.Rows.Count + prefillTokens);
    }

    /// <param name="resting">Nothing is left to do.</param>
    public void UpdateGauges(int running, int waiting, bool resting)
    {
        _stats.Running = running;
        _stats.Waiting = waiting;
        foreach (var lane in _lanes)
        {
            _stats.SetLane(lane.Number, lane.UsedTokens);
        }

        // walking the index costs time, so the idle part is refreshed now and then and whenever the engine comes to rest
        if (_stats.Steps % 32 == 0 || resting)
        {
            _stats.CacheBytesCached = _pools.IdleBytes;
            foreach (var kind in PoolKinds.All)
            {
                var idle = _pools.Index.IdlePages(kind);
                _stats.SetPages(kind, _pools[kind].UsedPages - idle, idle);
                _stats.SetPoolBytes(kind, (_pools[kind].UsedPages + _pools[kind].FreePages) * _pools[kind].PageBytes);
            }
        }

        _stats.CacheBytesUsed = Math.Max(0, _pools.UsedBytes - _stats.CacheBytesCached);
    }
}
