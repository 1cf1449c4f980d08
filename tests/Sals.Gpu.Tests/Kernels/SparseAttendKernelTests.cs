using System.Runtime.InteropServices;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Paging;
using Sals.Kernels.Cuda.Kernels.DenseAttend;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Kernels.SparseAttend;
using Sals.Kernels.Cuda.Runtime;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Kernels;

public class SparseAttendKernelTests
{
    [GpuTheory]
    [InlineData(128, 8, 2, 256, 128, true, 4, 32)]
    [InlineData(128, 8, 2, 256, 128, false, 4, 64)]
    [InlineData(128, 8, 2, 128, 64, true, 2, 32)]
    [InlineData(128, 4, 4, 512, 256, true, 2, 32)]
    [InlineData(128, 2, 2, 256, 256, false, 3, 128)]
    [InlineData(128, 8, 1, 16, 16, false, 16, 32)]
    [InlineData(64, 8, 4, 64, 32, false, 4, 32)]
    [InlineData(64, 14, 2, 48, 16, true, 3, 64)]
    [InlineData(64, 3, 1, 64, 48, true, 16, 32)]
    public void Selection_matches_the_reference(
        int headSize, int queryHeads, int keyHeads, int rank, int scoreRank, bool int8, int valueBits, int valueGroup)
    {
        var settings = new LatentCase
        {
            HeadSize = headSize,
            QueryHeads = queryHeads,
            KeyHeads = keyHeads,
            Rank = rank,
            ScoreRank = scoreRank,
            Int8 = int8,
            ValueBits = valueBits,
            ValueGroup = valueGroup,
            Critical = 48,
            CriticalMax = 512,
        };
        Matches(settings, [700, 1500, 333]);
    }

    [GpuTheory]
    [InlineData(128, 16, 16, 1024, 512, 4, true)]
    [InlineData(128, 8, 8, 512, 256, 2, false)]
    [InlineData(128, 8, 4, 256, 64, 4, true)]
    [InlineData(64, 6, 3, 240, 144, 3, false)]
    [InlineData(64, 8, 4, 64, 64, 4, true)]
    public void Heads_of_a_group_read_its_share_of_both_planes(int headSize, int queryHeads, int keyHeads, int rank, int scoreRank, int groups, bool int8) => Matches(
        new LatentCase
        {
            HeadSize = headSize,
            QueryHeads = queryHeads,
            KeyHeads = keyHeads,
            Rank = rank,
            ScoreRank = scoreRank,
            Groups = groups,
            Int8 = int8,
            Critical = 48,
            CriticalMax = 512,
        },
        [700, 1500, 333]);

    [GpuFact]
    public void Rank_of_a_thousand() => Matches(new LatentCase { QueryHeads = 8, KeyHeads = 8, Rank = 1024, ScoreRank = 512, Critical = 70, CriticalMax = 70 }, [700]);

    [GpuFact]
    public void Nothing_to_choose_selects_every_candidate() => Matches(new LatentCase { Critical = 432 }, [128, 191, 192, 400]);

    [GpuFact]
    public void Rows_that_are_not_compressed_yet_are_left_alone() =>
        Matches(new LatentCase { Critical = 64, CriticalMax = 64 }, [1, 64, 1001, 65, 256, 257, 700, 1000, 4500, 127], denseBelow: 1000);

    [GpuFact]
    public void No_row_is_compressed_yet() => Matches(new LatentCase { Critical = 64, CriticalMax = 64 }, [300, 1000, 9000], denseBelow: 10000);

    [GpuFact]
    public void More_than_sixteen_tiles_are_merged_in_two_levels() => Matches(new LatentCase { Critical = 1500, CriticalMax = 4096 }, [9000, 2000]);

    [GpuTheory]
    [InlineData(0)]
    [InlineData(64)]
    public void No_sinks_and_a_whole_page_of_them(int sinks) => Matches(new LatentCase { Sinks = sinks, Critical = 48, CriticalMax = 512 }, [128, 129, 700]);

    [GpuFact]
    public void Row_is_the_same_bits_in_every_batch()
    {
        using var gpu = Gpu.Open();
        var settings = new LatentCase { Rank = 128, ScoreRank = 64, Int8 = true, Critical = 200, CriticalMax = 512 };
        var together = new Setup(gpu, settings, [700, 1, 5000, 64, 2049], 7, 1, 300);
        var all = together.Run();
        var alone = new Setup(gpu, settings, [700], 7, 2, 300).Run();
        Close.Exactly(alone, all.AsSpan(0, alone.Length), "row 0");

        // a second run over the same workspace
        Close.Exactly(all, together.Run(), "again");
    }

    [GpuFact]
    public void Rank_d_with_an_orthonormal_basis_is_dense_attention()
    {
        using var gpu = Gpu.Open();
        var settings = new LatentCase { HeadSize = 64, QueryHeads = 4, KeyHeads = 2, Rank = 128, ScoreRank = 64, ValueBits = 16, Critical = 4096, CriticalMax = 4096 };
        var test = new Setup(gpu, settings, [900], Random.Shared.Next(), 0, 0);
        test.MakeIdentity();
        var cache = test.Cache;
        float[] keys = new float[900 * settings.Width], values = new float[keys.Length];
        test.Stored(keys, values);
        var expected = new float[4 * 64];
        for (var head = 0; head < 4; head++)
        {
            AttentionOracle.Run(test.Query(0).Slice(head * 64, 64), keys.AsSpan(head / 2 * 64), values.AsSpan(head / 2 * 64), settings.Width, 900, expected.AsSpan(head * 64, 64));
        }

        Close.To(expected, test.Run(), 6e-3, 1 / 100.0, $"seed {cache.Seed}");
    }

    private static void Matches(LatentCase settings, int[] lengths, int denseBelow = 0)
    {
        using var gpu = Gpu.Open();
        var test = new Setup(gpu, settings, lengths, Random.Shared.Next(), Random.Shared.Next(), denseBelow);
        float[] expected = test.Expected(), actual = test.Run();
        double difference = 0, size = 0, worst = 0, largest = 0;
        for (var i = 0; i < expected.Length; i++)
        {
            // a row without latent pages is dense_attend's
            var row = i / (expected.Length / lengths.Length);
            if (CacheTimeline.LatentPages(lengths[row], test.Cache.Spec) == 0)
            {
                Assert.True(BitConverter.SingleToUInt32Bits(actual[i]) == 0xFFFF0000, $"{actual[i]} at {i} of row {row}, which has no latent page; seed {test.Cache.Seed}");
                continue;
            }

            Assert.True(float.IsFinite(actual[i]), $"{actual[i]} at {i}; seed {test.Cache.Seed}");
            difference += Math.Pow(actual[i] - expected[i], 2);
            size += Math.Pow(expected[i], 2);
            worst = Math.Max(worst, Math.Abs(actual[i] - expected[i]));
            largest = Math.Max(largest, Math.Abs(expected[i]));
        }

        var relative = Math.Sqrt(difference / Math.Max(size, 1e-30));
        Assert.True(relative <= 4e-3 && worst <= 2e-2 * largest, $"relative {relative:g3}, worst {worst:g3} of {largest:g3}; seed {test.Cache.Seed}");
    }

    private sealed class Setup
    {
        private readonly Gpu.Scope _gpu;
        private readonly SparseAttendKernel _kernel;
        private readonly float[][] _queries;
        private readonly int[][] _selected;
        private readonly DevicePtr<ushort> _qkv;
        private readonly DevicePtr<SelectedToken> _deviceSelected;
        private readonly SparseAttendKernel.Workspace _workspace;
        private readonly StepInputs _inputs;
        private readonly int _stride;

        public Setup(Gpu.Scope gpu, LatentCase settings, int[] lengths, int seed, int order, int denseBelow)
        {
            _gpu = gpu;
            Cache = new LatentCacheCase(gpu, settings, lengths, seed, denseBelow, order);
            var shape = Cache.Shape;
            _kernel = new SparseAttendKernel(
                gpu.Load(SparseAttendKernel.Program(shape)), shape, gpu.Device.Multiprocessors, Cache.Rope.InverseFrequencies, Cache.Rope.AttentionFactor);
            var queryWidth = settings.QueryHeads * settings.HeadSize;
            _stride = queryWidth + (2 * settings.Width) + settings.ScoreRank;
            _queries = [.. lengths.Select((_, b) => Normal(new Random(seed + 5000 + b), queryWidth))];
            var qkv = new ushort[lengths.Length * _stride];
            Array.Fill(qkv, Bf16.NaN);
            var selected = new SelectedToken[lengths.Length * shape.SelectedStride];
            Array.Fill(selected, new SelectedToken(-1, uint.MaxValue));
            _selected = new int[lengths.Length][];
            for (var b = 0; b < lengths.Length; b++)
            {
                Bf16.Narrow(_queries[b]).CopyTo(qkv.AsSpan(b * _stride));
                int sinks = CacheTimeline.SinkCount(lengths[b], Cache.Spec), candidates = CacheTimeline.CandidateCount(lengths[b], Cache.Spec);
                var all = Enumerable.Range(sinks, candidates).ToArray();
                new Random(seed + 6000 + b).Shuffle(all);
                _selected[b] = all[..CacheTimeline.SelectedCount(lengths[b], Cache.Spec)];
                Array.Sort(_selected[b]);

                // a row that selects every candidate has no list
                if (_selected[b].Length < candidates)
                {
                    for (var i = 0; i < _selected[b].Length; i++)
                    {
                        selected[(b * shape.SelectedStride) + i] = new SelectedToken(_selected[b][i], Cache.LatentPage(b, _selected[b][i] / PageLayout.PageSize));
                    }
                }
            }

            _qkv = gpu.Upload<ushort>(qkv);
            _deviceSelected = gpu.Upload<SelectedToken>(selected);
            int[] items = [.. lengths.Select(length => AttendItems.Of(shape, length))];
            var entries = items.Sum();
            var arena = gpu.Arena(Math.Max(1, SparseAttendKernel.Workspace.Bytes(shape, entries)));
            gpu.Stream.Fill(arena.Start, arena.Bytes, 0xFF);
            _workspace = SparseAttendKernel.Workspace.Take(arena, shape, entries);
            _inputs = new StepInputs(default, gpu.Upload<int>([.. lengths.Select(l => l - 1)]), gpu.Upload<int>([.. Enumerable.Range(0, lengths.Length)]), default)
            {
                Items = gpu.UploadList(items, lengths),
            };
        }

        public LatentCacheCase Cache { get; }

        public ReadOnlySpan<float> Query(int row) => _queries[row];

        public float[] Run()
        {
            var layout = Cache.Layout;
            var size = Cache.Lengths.Length * _queries[0].Length;
            var o = _gpu.Poisoned<ushort>(size);
            _kernel.Launch(
                _gpu.Stream, _qkv, _stride, _inputs, Cache.HotTable, Cache.LatentTable, Cache.Pages, layout.KeyOffset(LatentCase.Layer), layout.ScoreOffset(LatentCase.Layer),
                _deviceSelected, Cache.DeviceBasis, _workspace, o, _queries.Length);
            return _gpu.DownloadBf16(o, size);
        }

        public float[] Expected()
        {
            var (settings, layout) = (Cache.Settings, Cache.Cpu.Layout);
            var heads = settings.QueryHeads;
            var size = heads * SparseAttend.PartSize(settings.HeadSize);
            var o = new float[Cache.Lengths.Length * _queries[0].Length];
            Parallel.For(0, Cache.Lengths.Length, b =>
            {
                var tiles = SparseAttend.TileCount(_selected[b].Length, Cache.Lengths[b], Cache.Spec);
                float[] parts = new float[tiles * size], work = new float[SparseAttend.WorkspaceSize(layout)];
                for (var tile = 0; tile < tiles; tile++)
                {
                    SparseAttend.Tile(
                        tile, _queries[b], Cache.Cpu, Cache.Basis, Cache.Rope, b, LatentCase.Layer, _selected[b], Cache.Lengths[b], work, parts.AsSpan(tile * size, size));
                }

                var group = heads / settings.KeyHeads;
                for (var kvHead = 0; kvHead < settings.KeyHeads; kvHead++)
                {
                    SparseAttend.Merge(
                        parts, tiles, heads, kvHead * group, settings.HeadSize, o.AsSpan((b * _queries[0].Length) + (kvHead * group * settings.HeadSize), group * settings.HeadSize));
                }
            });
            return o;
        }

        /// <summary>Makes the device's basis the identity without a mean, so that a latent is the key itself.</summary>
        public void MakeIdentity()
        {
            var d = Cache.Settings.Width;
            var identity = new float[d * d];
            for (var i = 0; i < d; i++)
            {
                identity[(i * d) + i] = 1;
                Cache.Basis.Mean[i] = 0;
            }

            identity.CopyTo(Cache.Basis.Vectors, 0);
            var image = BasisImage.Of(identity, [], Cache.Basis.Mean, Cache.Settings.HeadSize);
            _gpu.Stream.Upload<byte>(image.Bytes, Cache.DeviceBasis.Image);
            _gpu.Stream.Upload<float>(image.Bias, Cache.DeviceBasis.Bias);
        }

        /// <summary>Keys after rope and values of row 0, all tokens, as an uncompressed cache would hold them.</summary>
        public void Stored(Span<float> keys, Span<float> values)
        {
            var d = Cache.Settings.Width;
            var length = Cache.Lengths[0];
            int sinks = CacheTimeline.SinkCount(length, Cache.Spec), window = CacheTimeline.WindowStart(length, Cache.Spec);
            var latent = new float[d];
            for (var t = 0; t < length; t++)
            {
                var (page, i) = Math.DivRem(t, PageLayout.PageSize);
                if (t < sinks || t >= window)
                {
                    Cache.Cpu.Keys(PoolKind.Hot, 0, page, LatentCase.Layer).Slice(i * d, d).CopyTo(keys[(t * d)..]);
                    Cache.Cpu.Values(PoolKind.Hot, 0, page, LatentCase.Layer).Slice(i * d, d).CopyTo(values[(t * d)..]);
                    continue;
                }

                var planes = new LatentPlanes(Cache.Cpu.Page(PoolKind.Latent, Cache.Cpu.Table(PoolKind.Latent, 0)[page]), Cache.Cpu.Layout, LatentCase.Layer);
                ReconstructPages.Read(planes, i, Cache.Basis, Cache.Cpu.Layout, 0, latent, values[(t * d)..]);
                latent.CopyTo(keys[(t * d)..]);
                Rope.Run(keys.Slice(t * d, d), Cache.Rope.Cos(t), Cache.Rope.Sin(t));
            }
        }

        private static float[] Normal(Random random, int count) => [.. Enumerable.Range(0, count).Select(_ =>
            Bf16.Widen(Bf16.Narrow((float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble())))))];
    }
}
