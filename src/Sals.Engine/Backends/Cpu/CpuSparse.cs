using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Scheduling;

namespace Sals.Engine.Backends.Cpu;

/// <summary>
/// The compressed layers' part of the forward pass, in the steps of the paper: score the latent tokens, select, attend to the selected ones; and
/// compress pages, when they leave the window or at the end of a prefill. What is latent at which length: <see cref="CacheTimeline"/>.
/// All buffers are made once; the current operation's operands are fields because the team's delegates are.
/// </summary>
internal sealed class CpuSparse
{
    private readonly ModelConfig _model;
    private readonly LatentSpec _spec;
    private readonly LatentBasis _basis;
    private readonly RopeTable _rope;
    private readonly CpuCache _cache;
    private readonly WorkerTeam _team;
    private readonly int[] _sparseLayers;
    private readonly ScoreBands? _bands;
    private readonly (float Unit, float Bias)[] _ofBands;
    private readonly PackedMatrix?[] _scoringWeights;
    private readonly float[][] _scoringBiases;

    private readonly int _candidates;
    private readonly int _budget;
    private readonly uint[] _keys;
    private readonly int[] _selected;
    private readonly int[] _lengths;
    private readonly int[][] _codes;
    private readonly float[][] _groupSums;
    private readonly float[][] _work;
    private readonly float[] _parts;
    private readonly int _partSize;
    private readonly int _rowParts;

    private readonly Action<int, int> _scorePart;
    private readonly Action<int, int> _attendTile;
    private readonly Action<int, int> _selectRow;
    private readonly Action<int, int> _compressPage;
    private readonly Action<int, int> _flush;

    // operands of the operation that the team is running
    private int _layer;
    private CpuRow[] _rows = [];
    private StepPlan? _plan;
    private CpuLane? _lane;
    private int _laneOffset;
    private int _slot;
    private int _firstPage;
    private float[] _queryRows = [];
    private int _queryStride;
    private int _tiles;

    /// <param name="weights">Read here only, to fold the scoring queries.</param>
    public CpuSparse(ModelWeights weights, LatentBasis basis, RopeTable rope, CpuCache cache, WorkerTeam team, int slots)
    {
        _model = weights.Config;
        _spec = cache.Layout.Spec;
        (_basis, _rope, _cache, _team) = (basis, rope, cache, team);
        _sparseLayers = _spec.SparseLayers;
        _scoringWeights = new PackedMatrix?[_model.LayerCount];
        _scoringBiases = new float[_model.LayerCount][];
        var longest = rope.PositionCount;
        _bands = _spec.ScoreRope ? new ScoreBands(rope, CacheTimeline.LatentPages(longest, _spec)) : null;
        var width = (_bands?.Most ?? 1) * _spec.ScoreRank;
        foreach (var layer in _sparseLayers.Where(layer => weights.Layers[layer].QueryNorm is null && _bands is null))
        {
            var (weight, bias) = ScoringQuery.Fold(weights.Layers[layer], _model, basis.Layer(layer), _spec.ScoreRank);
            _scoringWeights[layer] = new PackedMatrix(team, new ComputedTensor($"scoring query of layer {layer}", weight, _spec.ScoreRank, _model.HiddenSize));
            _scoringBiases[layer] = bias;
        }

        _candidates = CacheTimeline.CandidateCount(longest, _spec);
        _budget = CacheTimeline.SelectedCount(longest, _spec);
        Queries = new float[slots * width];
        _ofBands = new (float, float)[slots * (_bands?.Most ?? 0)];
        _keys = new uint[checked(slots * _candidates)];
        _selected = new int[checked(slots * _budget)];
        _lengths = new int[slots];
        SparseLayers = new int[slots];
        ScoredLayers = new int[slots];
        _codes = [.. Enumerable.Range(0, slots).Select(_ => new int[width])];
        _groupSums = [.. Enumerable.Range(0, team.Count).Select(_ => new float[2 * _model.KeyWidth])];
        _work = [.. Enumerable.Range(0, team.Count).Select(_ => new float[SparseAttend.WorkspaceSize(cache.Layout)])];
        _partSize = _model.HeadCount * SparseAttend.PartSize(_model.HeadSize);
        _rowParts = _partSize * (1 + CacheTimeline.PagesOf(_budget) + CacheTimeline.PagesOf(_spec.RecentTokens + PageLayout.PageSize - 1));
        _parts = new float[checked(slots * _rowParts)];
        _attendTile = AttendTile;
        (_scorePart, _selectRow, _compressPage, _flush) = (ScorePart, SelectRow, CompressPage, Flush);
    }

    /// <summary>[rows, RS] of the current layer; [rows, bands, RS] with score_rope=bands.</summary>
    public float[] Queries { get; }

    /// <summary>[rows] of the current step: layers that read latent pages.</summary>
    public int[] SparseLayers { get; }

    /// <summary>[rows] of the current step: layers whose tokens were chosen by score.</summary>
    public int[] ScoredLayers { get; }

    /// <summary>Bytes of the compressed layers' bases, their packed copies and folded scoring queries.</summary>
    public long BasisBytes => _sparseLayers.Sum(layer => _basis.Layer(layer).Bytes) + _scoringWeights.Sum(w => w?.Bytes ?? 0);

    /// <summary>Bytes of buffers and folded weights.</summary>
    public long Bytes => sizeof(float) * ((long)Queries.Length + _keys.Length + _selected.Length + _parts.Length + _work.Sum(w => (long)w.Length))
        + _scoringWeights.Sum(w => w?.Bytes ?? 0);

    /// <summary>Begins a decode step.</summary>
    public void Begin(CpuRow[] rows, int count)
    {
        _rows = rows;
        for (var r = 0; r < count; r++)
        {
            _lengths[r] = rows[r].Position + 1;
            SparseLayers[r] = 0;
            ScoredLayers[r] = 0;
        }
    }

    /// <summary>Row r reads latent pages in the compressed layers.</summary>
    public bool IsSparse(int r) => CacheTimeline.LatentPages(_lengths[r], _spec) > 0;

    /// <summary>Some row reads latent pages.</summary>
    public bool AnySparse(int count)
    {
        var any = false;
        for (var r = 0; r < count; r++)
        {
            any |= IsSparse(r);
        }

        return any;
    }

    /// <summary>Row r has more candidates than it may select.</summary>
    public bool NeedsScores(int r) => CacheTimeline.CandidateCount(_lengths[r], _spec) > _spec.CriticalCount(_lengths[r]);

    /// <summary>The scoring query as a product with the normed hidden state [RS, H]; null when the model norms its queries, or with bands.</summary>
    public PackedMatrix? ScoringWeight(int layer) => _scoringWeights[layer];

    /// <summary>Completes the scoring query of row r: adds the folded bias, or projects the normed query where nothing could be folded.</summary>
    /// <param name="query">[HQ, DH], after bias and norm, before rope</param>
    public void FinishQuery(int layer, int r, int worker, ReadOnlySpan<float> query)
    {
        if (_bands is not null)
        {
            FinishBands(layer, r, worker, query);
            return;
        }

        var scoring = Queries.AsSpan(r * _spec.ScoreRank, _spec.ScoreRank);
        if (_scoringWeights[layer] is not null)
        {
            TensorPrimitives.Add(scoring, _scoringBiases[layer], scoring);
        }
        else
        {
            var summed = _groupSums[worker].AsSpan(0, _model.KeyWidth);
            ScoringQuery.SumGroups(query, _model.GroupSize, _model.HeadSize, summed);
            ScoringQuery.Project(summed, _basis.Layer(layer), scoring);
        }

        if (_spec.LatentFormat.IsCoded())
        {
            ScoreSelect.QuantiseQuery(scoring, _basis.Layer(layer), _codes[r]);
        }
    }

    private void FinishBands(int layer, int r, int worker, ReadOnlySpan<float> query)
    {
        int rank = _spec.ScoreRank, pages = CacheTimeline.LatentPages(_lengths[r], _spec), count = ScoreBands.Count(pages);
        var basis = _basis.Layer(layer);
        var summed = _groupSums[worker].AsSpan(0, _model.KeyWidth);
        var turned = _groupSums[worker].AsSpan(_model.KeyWidth);
        ScoringQuery.SumGroups(query, _model.GroupSize, _model.HeadSize, summed);
        var queries = Queries.AsSpan(r * _bands!.Most * rank, count * rank);
        for (var band = 0; band < count; band++)
        {
            var scoring = queries.Slice(band * rank, rank);
            var bias = _bands.Query(band, pages, _lengths[r] - 1, summed, basis, turned, scoring);
            var unit = _spec.LatentFormat.IsCoded() ? ScoreSelect.QuantiseQuery(scoring, basis, _codes[r].AsSpan(band * rank, rank)) : 1;
            _ofBands[(r * _bands.Most) + band] = (_spec.LatentFormat == LatentFormat.Int4 ? unit * LatentCodec.Int4Step : unit, bias);
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
    public Span<int> Selected(int r) => _selected.AsSpan(r * _budget, CacheTimeline.SelectedCount(_lengths[r], _spec));

    /// <summary>Attention of every sparse row in one layer, in parts that <see cref="Merge"/> puts together.</summary>
    /// <param name="queries">[rows, stride], the first [HQ, DH] of each after rope</param>
    public void Attend(int layer, int count, float[] queries, int stride)
    {
        (_layer, _queryRows, _queryStride, _tiles) = (layer, queries, stride, 0);
        for (var r = 0; r < count; r++)
        {
            _tiles = Math.Max(_tiles, IsSparse(r) ? Tiles(r) : 0);
        }

        _team.Run(count * _tiles, _attendTile);
    }

    /// <summary>The attention of the G query heads of one KV head of row r, after <see cref="Attend"/>.</summary>
    /// <param name="o">[G, DH]</param>
    public void Merge(int r, int kvHead, Span<float> o) => SparseAttend.Merge(
        _parts.AsSpan(r * _rowParts, _rowParts), Tiles(r), _model.HeadCount, kvHead * _model.GroupSize, _model.HeadSize, o);

    /// <summary>Compresses the hot pages of a plan's flushes, all compressed layers.</summary>
    public void Flush(StepPlan plan)
    {
        _plan = plan;
        _team.Run(plan.Flushes.Count * _sparseLayers.Length, _flush);
        _plan = null;
    }

    /// <summary>Brings tokens [0, history) of a cached prefix into the lane: exact where the slot has a hot page, else reconstructed.</summary>
    public void ReadPages(CpuLane lane, int slot, int layer, int offset, int history)
    {
        var d = _model.KeyWidth;
        PageRows(0, out var latents, out var keys, out var values);
        for (var page = 0; page * PageLayout.PageSize < history; page++)
        {
            var first = page * PageLayout.PageSize;
            if (_cache.Table(PoolKind.Hot, slot)[page] != 0)
            {
                _cache.Keys(PoolKind.Hot, slot, page, layer).CopyTo(keys);
                _cache.Values(PoolKind.Hot, slot, page, layer).CopyTo(values);
            }
            else
            {
                ReconstructPages.Run(LatentPage(slot, page), first, _rope, _basis.Layer(layer), _cache.Layout, layer, latents, keys, values);
            }

            for (var t = 0; t < PageLayout.PageSize; t++)
            {
                lane.Store(offset + first + t, keys.Slice(t * d, d), values.Slice(t * d, d));
            }
        }
    }

    /// <summary>Writes a prompt's pages of one layer from the lane as its length demands: hot, latent, or page 0 both.</summary>
    public void WritePages(CpuLane lane, int slot, int layer, int offset, int history, int length)
    {
        _firstPage = history / PageLayout.PageSize;
        for (var page = _firstPage; page < CacheTimeline.PagesOf(length); page++)
        {
            if (CacheTimeline.NeedsHot(page, length, _spec))
            {
                var first = page * PageLayout.PageSize;
                lane.WritePages(_cache, PoolKind.Hot, slot, layer, offset, first, Math.Min(first + PageLayout.PageSize, length));
            }
        }

        (_lane, _laneOffset, _slot, _layer) = (lane, offset, slot, layer);
        _team.Run(Math.Max(0, CacheTimeline.LatentPages(length, _spec) - _firstPage), _compressPage);
    }

    /// <summary>Scores one of the team's equal shares of a row's latent pages.</summary>
    private void ScorePart(int chunk, int worker)
    {
        var (r, part) = Math.DivRem(chunk, _team.Count);
        if (!NeedsScores(r))
        {
            return;
        }

        int sinks = CacheTimeline.SinkCount(_lengths[r], _spec), pages = CacheTimeline.LatentPages(_lengths[r], _spec);
        for (var page = pages * part / _team.Count; page < pages * (part + 1) / _team.Count; page++)
        {
            var plane = new LatentPlanes(LatentPage(_rows[r].Slot, page), _cache.Layout, _layer).ScorePlane;
            var skipped = page == 0 ? sinks : 0;
            int band = _bands is null ? 0 : ScoreBands.Of(pages - 1 - page), of = (r * (_bands?.Most ?? 1)) + band, rank = _spec.ScoreRank;
            ScoreSelect.Score(
                Queries.AsSpan(of * rank, rank), _codes[r].AsSpan(band * rank, rank), plane[(skipped * plane.Length / PageLayout.PageSize)..], _spec.LatentFormat, _basis.Layer(_layer),
                _keys.AsSpan(r * _candidates + page * PageLayout.PageSize + skipped - sinks, PageLayout.PageSize - skipped), _bands is null ? null : _ofBands[of]);
        }
    }

    private void SelectRow(int r, int worker)
    {
        var selected = Selected(r);
        var first = CacheTimeline.SinkCount(_lengths[r], _spec);
        SparseLayers[r] += IsSparse(r) ? 1 : 0;
        if (NeedsScores(r))
        {
            ScoreSelect.Select(_keys.AsSpan(r * _candidates, CacheTimeline.CandidateCount(_lengths[r], _spec)), first, selected);
            ScoredLayers[r]++;
            return;
        }

        for (var i = 0; i < selected.Length; i++)
        {
            selected[i] = first + i;
        }
    }

    private int Tiles(int r) => SparseAttend.TileCount(Selected(r).Length, _lengths[r], _spec);

    private void AttendTile(int chunk, int worker)
    {
        var (r, tile) = Math.DivRem(chunk, _tiles);
        if (IsSparse(r) && tile < Tiles(r))
        {
            SparseAttend.Tile(
                tile, _queryRows.AsSpan(r * _queryStride, _model.QueryWidth), _cache, _basis.Layer(_layer), _rope, _rows[r].Slot, _layer, Selected(r), _lengths[r],
                _work[worker], _parts.AsSpan((r * _rowParts) + (tile * _partSize), _partSize));
        }
    }

    private void CompressPage(int i, int worker)
    {
        var d = _model.KeyWidth;
        var page = _firstPage + i;
        PageRows(worker, out _, out var keys, out var values);
        for (var t = 0; t < PageLayout.PageSize; t++)
        {
            _lane!.Load(_laneOffset + page * PageLayout.PageSize + t, keys.Slice(t * d, d), values.Slice(t * d, d));
        }

        FlushPages.Run(keys, values, page * PageLayout.PageSize, _rope, _basis.Layer(_layer), _cache.Layout, _layer, LatentPage(_slot, page));
    }

    private void Flush(int chunk, int worker)
    {
        var flush = _plan!.Flushes[chunk / _sparseLayers.Length];
        var layer = _sparseLayers[chunk % _sparseLayers.Length];
        var layout = _cache.Layout;
        var hot = _cache.Page(PoolKind.Hot, flush.HotPage);
        FlushPages.Run(
            MemoryMarshal.Cast<byte, float>(hot.Slice((int)layout.KeyOffset(layer), layout.ExactPlaneBytes)),
            MemoryMarshal.Cast<byte, float>(hot.Slice((int)layout.ValueOffset(layer), layout.ExactPlaneBytes)),
            flush.Index * PageLayout.PageSize, _rope, _basis.Layer(layer), layout, layer, _cache.Page(PoolKind.Latent, flush.LatentPage));
    }

    // a worker's room for one page: latents [P, R], keys and values [P, D]
    private void PageRows(int worker, out Span<float> latents, out Span<float> keys, out Span<float> values)
    {
        var rows = _work[worker].AsSpan();
        var plane = PageLayout.PageSize * _model.KeyWidth;
        keys = rows[..plane];
        values = rows.Slice(plane, plane);
        latents = rows.Slice(2 * plane, PageLayout.PageSize * _spec.Rank);
    }

    private Span<byte> LatentPage(int slot, int page) => _cache.Page(PoolKind.Latent, _cache.Table(PoolKind.Latent, slot)[page]);
}
