using System.Runtime.InteropServices;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Scheduling;

namespace Sals.Engine.Backends.Cpu;

/// <summary>
/// The compressed layers' part of the forward pass: attend to the latent tokens that <see cref="CpuSelection"/> chooses; and
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
    private readonly int[] _lengths;
    private readonly float[][] _work;
    private readonly float[] _parts;
    private readonly int _partSize;
    private readonly int _rowParts;

    private readonly Action<int, int> _attendTile;
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

    public CpuSparse(ModelWeights weights, LatentBasis basis, RopeTable rope, CpuCache cache, WorkerTeam team, int slots)
    {
        _model = weights.Config;
        _spec = cache.Layout.Spec;
        (_basis, _rope, _cache, _team) = (basis, rope, cache, team);
        _sparseLayers = _spec.SparseLayers;
        Selection = new CpuSelection(weights, basis, rope, cache, team, slots);
        _lengths = new int[slots];
        _work = [.. Enumerable.Range(0, team.Count).Select(_ => new float[SparseAttend.WorkspaceSize(cache.Layout)])];
        _partSize = _model.HeadCount * SparseAttend.PartSize(_model.HeadSize);
        _rowParts = _partSize * (1 + CacheTimeline.PagesOf(CacheTimeline.SelectedCount(rope.PositionCount, _spec)) + CacheTimeline.PagesOf(_spec.RecentTokens + PageLayout.PageSize - 1));
        _parts = new float[checked(slots * _rowParts)];
        _attendTile = AttendTile;
        (_compressPage, _flush) = (CompressPage, Flush);
    }

    /// <summary>Which latent tokens the rows attend to.</summary>
    public CpuSelection Selection { get; }

    /// <summary>Bytes of the compressed layers' bases, their packed copies and folded scoring queries.</summary>
    public long BasisBytes => _sparseLayers.Sum(layer => _basis.Layer(layer).Bytes) + Selection.WeightBytes;

    /// <summary>Bytes of buffers and folded weights.</summary>
    public long Bytes => (sizeof(float) * ((long)_parts.Length + _work.Sum(w => (long)w.Length))) + Selection.Bytes + Selection.WeightBytes;

    /// <summary>Begins a decode step.</summary>
    public void Begin(CpuRow[] rows, int count)
    {
        _rows = rows;
        for (var r = 0; r < count; r++)
        {
            _lengths[r] = rows[r].Position + 1;
        }

        Selection.Begin(rows, count);
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

    private int Tiles(int r) => SparseAttend.TileCount(Selection.Selected(r).Length, _lengths[r], _spec);

    private void AttendTile(int chunk, int worker)
    {
        var (r, tile) = Math.DivRem(chunk, _tiles);
        if (IsSparse(r) && tile < Tiles(r))
        {
            SparseAttend.Tile(
                tile, _queryRows.AsSpan(r * _queryStride, _model.QueryWidth), _cache, _basis.Layer(_layer), _rope, _rows[r].Slot, _layer, Selection.Selected(r), _lengths[r],
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
