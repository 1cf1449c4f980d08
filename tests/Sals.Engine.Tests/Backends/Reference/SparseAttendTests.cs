using Sals.Engine.Backends.Cpu;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Tests.Latent;
using Xunit;

namespace Sals.Engine.Tests.Backends.Reference;

/// <summary>One layer of one slot: the same random keys and values lie in hot pages (slot 0, all of them) and, flushed, in latent pages (slot 1).</summary>
public class SparseAttendTests
{
    private const int Layer = 2, Width = 64;
    private static readonly ModelConfig Model = LatentModels.Config(layers: 4, keyValueHeads: 2, headSize: 32, heads: 4);
    private static readonly RopeTable Rope = new(Model.Rope, 32, 1024);

    [Theory]
    [InlineData(300, 16)]
    [InlineData(383, 0)]
    [InlineData(384, 64)]
    [InlineData(128, 16)]
    public void Everything_at_full_rank_equals_dense_attention(int length, int sinks)
    {
        var (cache, basis, q) = Setup(length, "rank_ratio=1", "value_bits=16", $"sink_tokens={sinks}");
        var spec = cache.Layout.Spec;
        int[] all = [.. Enumerable.Range(sinks, CacheTimeline.CandidateCount(length, spec))];
        float[] dense = new float[128], sparse = Attend(cache, basis, q, all, length);
        for (var head = 0; head < 2; head++)
        {
            DenseAttend.Run(q.AsSpan(head * 64, 64), cache, PoolKind.Hot, 0, Layer, head, 32, length, new float[2 * length], dense.AsSpan(head * 64, 64));
        }

        for (var i = 0; i < 128; i++)
        {
            Assert.InRange(sparse[i] - dense[i], -3e-4, 3e-4); // fp16 values
        }
    }

    [Theory]
    [InlineData("float32", "false")]
    [InlineData("bf16", "false")]
    [InlineData("int8", "true")]
    public void A_selection_equals_plain_attention_over_what_is_stored(string format, string centred)
    {
        const int length = 300;
        var (cache, basis, q) = Setup(length, "rank=32", "score_rank=16", $"latent_format={format}", $"centred={centred}");
        var spec = cache.Layout.Spec;
        int[] selected = [16, 17, 63, 64, 100, 127, 128, 191];
        Assert.Equal(192, CacheTimeline.WindowStart(length, spec));
        int[] attended = [.. Enumerable.Range(0, 16), .. selected, .. Enumerable.Range(192, length - 192)];
        Assert.Equal(1 + 1 + 2, SparseAttend.TileCount(selected.Length, length, spec));
        var (keys, values) = Stored(cache, basis, selected, length);
        var o = Attend(cache, basis, q, selected, length);
        for (var head = 0; head < 4; head++)
        {
            var at = head / 2 * 32;
            double[] weights = [.. attended.Select(t => Math.Exp(Enumerable.Range(0, 32).Sum(d => (double)q[(head * 32) + d] * keys[(t * Width) + at + d]) / Math.Sqrt(32)))];
            for (var d = 0; d < 32; d++)
            {
                var expected = attended.Select((t, n) => weights[n] * values[(t * Width) + at + d]).Sum() / weights.Sum();
                Assert.InRange(o[(head * 32) + d] - expected, -1e-5, 1e-5);
            }
        }
    }

    [Fact]
    public void Tokens_that_are_not_selected_are_not_read()
    {
        const int length = 300;
        var (cache, basis, q) = Setup(length, "rank=32");
        int[] selected = [70, 71];
        var before = Attend(cache, basis, q, selected, length);
        cache.Page(PoolKind.Latent, cache.Table(PoolKind.Latent, 1)[0]).Fill(0xFF); // sinks come from hot page 0
        cache.Page(PoolKind.Latent, cache.Table(PoolKind.Latent, 1)[2]).Fill(0xFF);
        cache.Keys(PoolKind.Hot, 1, 0, Layer)[(16 * Width)..].Fill(float.NaN); // the rest of page 0 is latent
        cache.Values(PoolKind.Hot, 1, 0, Layer)[(16 * Width)..].Fill(float.NaN);
        cache.Keys(PoolKind.Hot, 1, length / 64, Layer)[(length % 64 * Width)..].Fill(float.NaN); // past the length
        cache.Values(PoolKind.Hot, 1, length / 64, Layer)[(length % 64 * Width)..].Fill(float.NaN);
        var after = Attend(cache, basis, q, selected, length);
        Assert.Equal(before, after);
        Assert.All(after, x => Assert.True(float.IsFinite(x)));
    }

    /// <summary>All tiles in a poisoned workspace, merged: [HQ, DH].</summary>
    private static float[] Attend(CpuCache cache, LatentBasisLayer basis, float[] q, int[] selected, int length)
    {
        const int headSize = 32, heads = 4;
        var size = heads * SparseAttend.PartSize(headSize);
        var parts = new float[SparseAttend.TileCount(selected.Length, length, cache.Layout.Spec) * size];
        var work = new float[SparseAttend.WorkspaceSize(cache.Layout)];
        for (var tile = 0; tile * size < parts.Length; tile++)
        {
            Array.Fill(work, float.NaN);
            SparseAttend.Tile(tile, q, cache, basis, Rope, 1, Layer, selected, length, work, parts.AsSpan(tile * size, size));
        }

        var o = new float[heads * headSize];
        for (var kvHead = 0; kvHead < 2; kvHead++)
        {
            SparseAttend.Merge(parts, parts.Length / size, heads, 2 * kvHead, headSize, o.AsSpan(kvHead * 64, 64));
        }

        return o;
    }

    private static (CpuCache Cache, LatentBasisLayer Basis, float[] Query) Setup(int length, params string[] settings)
    {
        var random = new Random(length);
        var spec = LatentSpecParser.Parse("sals-25", ["latent_format=float32", .. settings, "dense_below=0"], Model);
        var layout = new PageLayout(Model, spec, ElementType.Float32);
        var cache = new CpuCache(layout, 2, 1024, 64 << 20);
        var basis = RandomBasis.Create(random, Width, spec.Rank, spec.Centred, 0.1f);
        var page = 1;
        for (var i = 0; i < CacheTimeline.PagesOf(length); i++)
        {
            var hot = page;
            page += (int)(layout.HotPageBytes / PageLayout.Unit);
            cache.Table(PoolKind.Hot, 0)[i] = hot;
            Fill(random, cache.Keys(PoolKind.Hot, 0, i, Layer));
            Fill(random, cache.Values(PoolKind.Hot, 0, i, Layer));
            if (CacheTimeline.NeedsHot(i, length, spec))
            {
                cache.Table(PoolKind.Hot, 1)[i] = page;
                cache.Page(PoolKind.Hot, hot).CopyTo(cache.Page(PoolKind.Hot, page));
                page += (int)(layout.HotPageBytes / PageLayout.Unit);
            }

            if (CacheTimeline.NeedsLatent(i, length, spec))
            {
                cache.Table(PoolKind.Latent, 1)[i] = page;
                FlushPages.Run(cache.Keys(PoolKind.Hot, 0, i, Layer), cache.Values(PoolKind.Hot, 0, i, Layer), 64 * i, Rope, basis, layout, Layer, cache.Page(PoolKind.Latent, page));
                page += (int)(layout.LatentPageBytes / PageLayout.Unit);
            }
        }

        var query = new float[128];
        Fill(random, query);
        return (cache, basis, query);
    }

    /// <summary>Keys and values [length, D] as the cache of slot 1 stores them, by whole pages.</summary>
    private static (float[] Keys, float[] Values) Stored(CpuCache cache, LatentBasisLayer basis, int[] selected, int length)
    {
        float[] keys = new float[1024 * Width], values = new float[1024 * Width];
        for (var i = 0; i < CacheTimeline.PagesOf(length); i++)
        {
            cache.Keys(PoolKind.Hot, 0, i, Layer).CopyTo(keys.AsSpan(i * 64 * Width));
            cache.Values(PoolKind.Hot, 0, i, Layer).CopyTo(values.AsSpan(i * 64 * Width));
        }

        float[] pageKeys = new float[64 * Width], pageValues = new float[64 * Width];
        foreach (var position in selected)
        {
            ReconstructPages.Run(
                cache.Page(PoolKind.Latent, cache.Table(PoolKind.Latent, 1)[position / 64]), position / 64 * 64, Rope, basis, cache.Layout, Layer, new float[64 * basis.Rank], pageKeys, pageValues);
            pageKeys.AsSpan(position % 64 * Width, Width).CopyTo(keys.AsSpan(position * Width));
            pageValues.AsSpan(position % 64 * Width, Width).CopyTo(values.AsSpan(position * Width));
        }

        return (keys, values);
    }

    private static void Fill(Random random, Span<float> target)
    {
        foreach (ref var x in target)
        {
            x = random.NextSingle() - 0.5f;
        }
    }
}
