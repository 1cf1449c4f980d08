using System.Numerics.Tensors;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;

namespace Sals.Engine.Backends.Cpu;

/// <summary>
/// Which latent tokens each row attends to in a compressed layer (paper section 3, stage 1): scoring queries, scores of the candidates, the best of them. A candidate
/// has one score, of all heads, and a row one set for all heads. A row has a scoring query, or one for each band of distance (<see cref="ScoreBands"/>),
/// of which each may again be one for each query head (<see cref="HeadScores"/>).
/// All buffers are made once; the current operation's operands are fields because the team's delegates are.
/// </summary>
internal sealed class CpuSelection
{
    private readonly ModelConfig _model;
    private readonly LatentSpec _spec;
    private readonly LatentBasis _basis;
    private readonly CpuCache _cache;
    private readonly WorkerTeam _team;
    private readonly ScoreBands? _bands;
    private readonly PackedMatrix?[] _scoringWeights;
    private readonly float[][] _scoringBiases;

    private readonly int _heads;
    private readonly int _rowQueries;
    private readonly bool _ordersOnly;
    private readonly int _candidates;
    private readonly int _budget;
    private readonly uint[] _keys;
    private readonly int[] _selected;
    private readonly int[] _counts;
    private readonly int[] _lengths;
    private readonly int[][] _codes;
    private readonly float[] _biases;
    private readonly float[] _units;
    private readonly float[][] _work;
    private readonly uint[][] _sorted;

    private readonly Action<int, int> _scorePart;
    private readonly Action<int, int> _selectRow;

    private int _layer;
    private CpuRow[] _rows = [];

    /// <param name="weights">Read here only, to fold the scoring queries.</param>
    public CpuSelection(ModelWeights weights, LatentBasis basis, RopeTable rope, CpuCache cache, WorkerTeam team, int slots)
    {
        _model = weights.Config;
        _spec = cache.Layout.Spec;
        (_basis, _cache, _team) = (basis, cache, team);
        _scoringWeights = new PackedMatrix?[_model.LayerCount];
        _scoringBiases = new float[_model.LayerCount][];
        var longest = rope.PositionCount;
        _bands = _spec.ScoreRope ? new ScoreBands(rope, CacheTimeline.LatentPages(longest, _spec)) : null;
        _heads = _spec.ScoreHeads ? _model.HeadCount : 1;
        _rowQueries = (_bands?.Most ?? 1) * _heads;
        _ordersOnly = _rowQueries == 1 && _bands is null && _spec.CriticalMass == 0;
        foreach (var layer in _spec.SparseLayers.Where(layer => weights.Layers[layer].QueryNorm is null && _bands is null && !_spec.ScoreHeads))
        {
            var (weight, bias) = ScoringQuery.Fold(weights.Layers[layer], _model, basis.Layer(layer), _spec.ScoreRank);
            _scoringWeights[layer] = new PackedMatrix(team, new ComputedTensor($"scoring query of layer {layer}", weight, _spec.ScoreRank, _model.HiddenSize));
            _scoringBiases[layer] = bias;
        }

        _candidates = CacheTimeline.CandidateCount(longest, _spec);
        _budget = CacheTimeline.SelectedCount(longest, _spec);
        Queries = new float[slots * _rowQueries * _spec.ScoreRank];
        _biases = new float[slots * _rowQueries];
        _units = new float[slots * _rowQueries];
        _keys = new uint[checked(slots * _candidates)];
        _selected = new int[checked(slots * _budget)];
        _counts = new int[slots];
        _lengths = new int[slots];
        SparseLayers = new int[slots];
        ScoredLayers = new int[slots];
        SelectedTokens = new int[slots];
        _codes = [.. Enumerable.Range(0, slots).Select(_ => new int[_rowQueries * _spec.ScoreRank])];
        _work = [.. Enumerable.Range(0, team.Count).Select(_ => new float[Math.Max(2 * _model.KeyWidth, _heads * PageLayout.PageSize)])];
        _sorted = [.. Enumerable.Range(0, team.Count).Select(_ => new uint[_spec.CriticalMass > 0 ? _candidates : 0])];
        (_scorePart, _selectRow) = (ScorePart, SelectRow);
    }

    /// <summary>[rows, RS] of the current layer; [rows, bands, heads, RS] with score_rope=bands or score_heads=zscore.</summary>
    public float[] Queries { get; }

    /// <summary>[rows] of the current step: layers that read latent pages.</summary>
    public int[] SparseLayers { get; }

    /// <summary>[rows] of the current step: layers whose tokens were chosen by score.</summary>
    public int[] ScoredLayers { get; }

    /// <summary>[rows] of the current step: tokens selected, all layers.</summary>
    public int[] SelectedTokens { get; }

    /// <summary>Bytes of the folded scoring queries.</summary>
    public long WeightBytes => _scoringWeights.Sum(w => w?.Bytes ?? 0);

    /// <summary>Bytes of buffers.</summary>
    public long Bytes => sizeof(float) * ((long)Queries.Length + _keys.Length + _selected.Length + _codes.Sum(c => (long)c.Length) + _sorted.Sum(s => (long)s.Length));

    /// <summary>Begins a decode step.</summary>
    public void Begin(CpuRow[] rows, int count)
    {
        _rows = rows;
        for (var r = 0; r < count; r++)
        {
            _lengths[r] = rows[r].Position + 1;
            SparseLayers[r] = 0;
            ScoredLayers[r] = 0;
            SelectedTokens[r] = 0;
        }
    }

    /// <summary>The scoring query as a product with the normed hidden state [RS, H]; null when the model norms its queries, or a row has more than one.</summary>
    public PackedMatrix? ScoringWeight(int layer) => _scoringWeights[layer];

    /// <summary>Completes the scoring queries of row r: adds the folded bias, or projects the normed query where nothing could be folded.</summary>
    /// <param name="query">[HQ, DH], after bias and norm, before rope</param>
    public void FinishQuery(int layer, int r, int worker, ReadOnlySpan<float> query)
    {
        int rank = _spec.ScoreRank, pages = CacheTimeline.LatentPages(_lengths[r], _spec), bands = _bands is null ? 1 : ScoreBands.Count(pages);
        if (pages == 0)
        {
            return; // wholly exact, beside rows that are not
        }

        var basis = _basis.Layer(layer);
        var queries = Queries.AsSpan(r * _rowQueries * rank, bands * _heads * rank);
        var biases = _biases.AsSpan(r * _rowQueries, bands * _heads);
        biases.Clear();
        if (_scoringWeights[layer] is not null)
        {
            TensorPrimitives.Add(queries, _scoringBiases[layer], queries);
        }
        else
        {
            for (var head = 0; head < _heads; head++)
            {
                Project(query, head, r, worker, basis, queries, biases);
            }
        }

        if (_spec.ScoreHeads)
        {
            Span<int> weights = stackalloc int[bands];
            for (var band = 0; band < bands; band++)
            {
                weights[band] = _bands is null ? pages : ScoreBands.PagesOf(band, pages);
            }

            HeadScores.Standardise(queries, biases, weights, basis);
        }

        for (var i = 0; i < biases.Length && _spec.LatentFormat.IsCoded(); i++)
        {
            var unit = ScoreSelect.QuantiseQuery(queries.Slice(i * rank, rank), basis, _codes[r].AsSpan(i * rank, rank));
            _units[(r * _rowQueries) + i] = _spec.LatentFormat == LatentFormat.Int4 ? unit * LatentCodec.Int4Step : unit;
        }
    }

    // the scoring queries of one head, or of all together, in every band
    private void Project(ReadOnlySpan<float> query, int head, int r, int worker, LatentBasisLayer basis, Span<float> queries, Span<float> biases)
    {
        int rank = _spec.ScoreRank, size = _model.HeadSize, pages = CacheTimeline.LatentPages(_lengths[r], _spec);
        var summed = _work[worker].AsSpan(0, _model.KeyWidth);
        var turned = _work[worker].AsSpan(_model.KeyWidth, _model.KeyWidth);
        if (_spec.ScoreHeads)
        {
            summed.Clear();
            query.Slice(head * size, size).CopyTo(summed[(head / _model.GroupSize * size)..]);
        }
        else
        {
            ScoringQuery.SumGroups(query, _model.GroupSize, size, summed);
        }

        for (var i = head; i < biases.Length; i += _heads)
        {
            var scoring = queries.Slice(i * rank, rank);
            if (_bands is null)
            {
                ScoringQuery.Project(summed, basis, scoring);
            }
            else
            {
                biases[i] = _bands.Query(i / _heads, pages, _lengths[r] - 1, summed, basis, turned, scoring);
            }
        }
    }

    /// <summary>Chooses the latent tokens of every sparse row in one layer.</summary>
    public void Select(int layer, int count)
    {
        _layer = layer;
        _team.Run(count * _team.Count, _scorePart);
        _team.Run(count, _selectRow);
    }

    /// <summary>Positions selected for row r in the current layer.</summary>
    public Span<int> Selected(int r) => _selected.AsSpan(r * _budget, _counts[r]);

    // row r has more candidates than it may select, or might do with fewer than it has
    private bool NeedsScores(int r) => CacheTimeline.CandidateCount(_lengths[r], _spec) > _spec.LeastCount(_lengths[r]);

    /// <summary>Scores one of the team's equal shares of a row's latent pages.</summary>
    private void ScorePart(int chunk, int worker)
    {
        var (r, part) = Math.DivRem(chunk, _team.Count);
        if (!NeedsScores(r))
        {
            return;
        }

        var pages = CacheTimeline.LatentPages(_lengths[r], _spec);
        for (var page = pages * part / _team.Count; page < pages * (part + 1) / _team.Count; page++)
        {
            ScorePage(r, page, pages, worker);
        }
    }

    private void ScorePage(int r, int page, int pages, int worker)
    {
        int rank = _spec.ScoreRank, sinks = CacheTimeline.SinkCount(_lengths[r], _spec), skipped = page == 0 ? sinks : 0;
        var plane = new LatentPlanes(_cache.Page(PoolKind.Latent, _cache.Table(PoolKind.Latent, _rows[r].Slot)[page]), _cache.Layout, _layer).ScorePlane;
        plane = plane[(skipped * plane.Length / PageLayout.PageSize)..];
        var keys = _keys.AsSpan((r * _candidates) + (page * PageLayout.PageSize) + skipped - sinks, PageLayout.PageSize - skipped);
        var scores = _work[worker].AsSpan(0, _heads * keys.Length);
        var first = (_bands is null ? 0 : ScoreBands.Of(pages - 1 - page)) * _heads;
        for (var head = 0; head < _heads; head++)
        {
            var of = (r * _rowQueries) + first + head;
            var query = Queries.AsSpan(of * rank, rank);
            var codes = _codes[r].AsSpan((first + head) * rank, rank);
            if (_spec.ScoreHeads)
            {
                ScoreSelect.Values(query, codes, plane, _spec.LatentFormat, _basis.Layer(_layer), (_units[of], _biases[of]), scores.Slice(head * keys.Length, keys.Length));
            }
            else
            {
                ScoreSelect.Score(query, codes, plane, _spec.LatentFormat, _basis.Layer(_layer), keys, _ordersOnly ? null : (_units[of], _biases[of]));
            }
        }

        if (_spec.ScoreHeads)
        {
            HeadScores.Combine(scores, keys);
        }
    }

    private void SelectRow(int r, int worker)
    {
        int first = CacheTimeline.SinkCount(_lengths[r], _spec), candidates = CacheTimeline.CandidateCount(_lengths[r], _spec);
        _counts[r] = CacheTimeline.SelectedCount(_lengths[r], _spec);
        SparseLayers[r] += CacheTimeline.LatentPages(_lengths[r], _spec) > 0 ? 1 : 0;
        if (NeedsScores(r))
        {
            var keys = _keys.AsSpan(r * _candidates, candidates);
            if (_spec.CriticalMass > 0)
            {
                var sorted = _sorted[worker].AsSpan(0, candidates);
                keys.CopyTo(sorted);
                _counts[r] = SelectMass.Count(sorted, _spec.CriticalMass, ScoreScale, _spec.CriticalMin, _spec.CriticalMax);
            }

            ScoreSelect.Select(keys, first, Selected(r));
            ScoredLayers[r]++;
        }
        else
        {
            for (var i = 0; i < _counts[r]; i++)
            {
                _selected[(r * _budget) + i] = first + i;
            }
        }

        SelectedTokens[r] += _counts[r];
    }

    // of a score in a softmax: the sum of all heads' logits as their mean logit, where each would be scaled like an attention logit
    private double ScoreScale => _spec.ScoreHeads ? 1 : 1 / (_model.HeadCount * Math.Sqrt(_model.HeadSize));
}
