using System.Runtime.InteropServices;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Latent;
using Sals.Engine.Paging;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.ScoreSelect;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Kernels;

public class ScoreSelectKernelTests
{
    [GpuTheory]
    [CombinatorialRanks]
    public void Rows_of_very_different_length(int scoreRank, bool int8) => Run(new LatentCase { Rank = scoreRank, ScoreRank = scoreRank, Int8 = int8 }, 5000, 100, 1, 4096, 577, 560, 9000);

    [GpuTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void One_candidate_too_many(bool int8)
    {
        // 448 latent tokens, 16 sinks
        Run(new LatentCase { Int8 = int8, Critical = 431 }, 64 + 448);
        Run(new LatentCase { Int8 = int8, Critical = 447, Sinks = 0 }, 64 + 448);
        Run(new LatentCase { Int8 = int8, Critical = 1, Sinks = 64 }, 64 + 128);
    }

    [GpuTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void No_row_needs_scores(bool int8) => Run(new LatentCase { Int8 = int8 }, 64 + 448 - 1, 1, 500);

    [GpuTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void Equal_scores_go_to_the_smaller_position(bool int8) => Run(new LatentCase { Int8 = int8 }, (codes, _) => codes.AsSpan().Fill(3), 5000, 4096, 33000);

    [GpuTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void Two_scores_with_ties_at_the_boundary(bool int8) =>
        Run(new LatentCase { Int8 = int8 }, (codes, random) => { for (var t = 0; t < codes.Length; t++) { codes[t] = random.Next(5) == 0 ? 7 : 1; } }, 5000, 9000, 33000);

    [GpuTheory]
    [InlineData(1e-3f)]
    [InlineData(0.03f)]
    [InlineData(50f)]
    [InlineData(1e6f)]
    public void Calibration_is_badly_off(float factor)
    {
        Run(new LatentCase { Int8 = true }, null, factor, 5000, 33000);
        Run(new LatentCase { Int8 = false }, null, factor, 5000, 33000);
    }

    [GpuFact]
    public void Not_a_number_is_the_least_score() =>
        Run(new LatentCase(), (codes, random) => { for (var t = 0; t < codes.Length; t++) { codes[t] = random.Next(8) switch { 0 => 1000, 1 => 1001, 2 => 1002, _ => 0 }; } }, 2000, 9000, 30000);

    [GpuTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_query_that_is_not_finite(bool int8) => Run(new LatentCase { Int8 = int8 }, null, 1, [3000, 9000], query => query[5] = float.NaN);

    [GpuTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void A_query_of_zeros(bool int8) => Run(new LatentCase { Int8 = int8 }, null, 1, [3000, 9000], query => query.AsSpan().Clear());

    [GpuTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void An_eighth_of_a_long_sequence(bool int8) => Run(new LatentCase { Int8 = int8, CriticalMax = int.MaxValue }, 131072, 70001);

    [GpuFact]
    public void A_million_positions() => Run(new LatentCase { Int8 = true, Rank = 16, ScoreRank = 16, CriticalMax = int.MaxValue }, 1 << 20, 3000);

    [GpuTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void Row_is_the_same_bits_in_every_batch_and_placement(bool int8)
    {
        using var gpu = Gpu.Open();
        var spec = new LatentCase { Int8 = int8 };
        var seed = Random.Shared.Next();
        var together = new Setup(gpu, spec, [9000, 5000, 577, 20000, 4096], seed, null, 1, null);
        var (keys, selected) = together.Run();
        var alone = new Setup(gpu, spec, [9000], seed, null, 1, null);
        var (oneKeys, oneSelected) = alone.Run();
        Assert.Equal(oneKeys[0], keys[0]);

        // the rows of a list are as long as the longest sequence asks for
        Assert.Equal(oneSelected[0], selected[0].AsSpan(0, oneSelected[0].Length).ToArray());
        Assert.All(selected[0].Skip(oneSelected[0].Length), position => Assert.Equal(-1, position));

        // over the same workspace again: nothing that the launch before left may be taken for this one's
        var (againKeys, againSelected) = together.Run();
        for (var row = 0; row < keys.Length; row++)
        {
            Assert.Equal(keys[row], againKeys[row]);
            Assert.Equal(selected[row], againSelected[row]);
        }
    }

    [GpuFact]
    public void As_many_rows_as_a_step_has() => Run(new LatentCase { Int8 = true, Critical = 32 }, [.. Enumerable.Range(0, PlanStepKernel.MaxRows).Select(i => 64 + (i * 5))]);

    [GpuTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void Rows_that_end_within_blocks(bool int8) => Run(new LatentCase { Int8 = int8 }, [.. Enumerable.Range(0, 90).Select(i => 600 + (i * 29))]);

    [GpuFact]
    public void Fewer_units_than_blocks_among_many_rows() => Run(new LatentCase { Int8 = true }, [.. Enumerable.Repeat(100, 60), 700, .. Enumerable.Repeat(3, 20)]);

    [GpuFact]
    public void Equal_scores_of_rows_that_end_within_blocks() =>
        Run(new LatentCase { Int8 = true }, (codes, _) => codes.AsSpan().Fill(3), [.. Enumerable.Repeat(2000, 40)]);

    [GpuTheory]
    [InlineData(1, 4096)]
    [InlineData(8, 5000)]
    [InlineData(70, 1500)]
    public void Launches_that_overlap(int rows, int length)
    {
        using var gpu = Gpu.Open();
        var seed = Random.Shared.Next();
        var test = new Setup(gpu, new LatentCase { Int8 = true }, [.. Enumerable.Range(0, rows).Select(i => length + (i * 64))], seed, null, 1, null);
        var (keys, selected) = test.Run(50);
        test.Check(keys, selected, $"{rows} rows from {length}, seed {seed}");
    }

    private static void Run(LatentCase spec, params int[] lengths) => Run(spec, null, 1, lengths);

    private static void Run(LatentCase spec, Action<int[], Random> content, params int[] lengths) => Run(spec, content, 1, lengths);

    private static void Run(LatentCase spec, Action<int[], Random>? content, float calibration, params int[] lengths) => Run(spec, content, calibration, lengths, null);

    private static void Run(LatentCase spec, Action<int[], Random>? content, float calibration, int[] lengths, Action<float[]>? query)
    {
        using var gpu = Gpu.Open();
        var seed = Random.Shared.Next();
        var test = new Setup(gpu, spec, lengths, seed, content, calibration, query);
        var (keys, selected) = test.Run();
        test.Check(keys, selected, $"{spec}, lengths {string.Join(' ', lengths.Take(9))}, seed {seed}");
    }

    /// <summary>Ranks whose rows are one vector, several, more than a warp reads at once, and no power of two of them.</summary>
    private sealed class CombinatorialRanksAttribute : Xunit.v3.DataAttribute
    {
        public override ValueTask<IReadOnlyCollection<ITheoryDataRow>> GetData(System.Reflection.MethodInfo testMethod, Xunit.Sdk.DisposalTracker disposalTracker) =>
            new([.. from rank in (int[])[16, 48, 64, 80, 128, 192, 256, 336, 512, 1024] from int8 in (bool[])[true, false] select new TheoryDataRow<int, bool>(rank, int8)]);

        public override bool SupportsDiscoveryEnumeration() => true;
    }

    /// <summary>Score planes that lie scattered in the arena; every byte that no candidate owns is 0xFF.</summary>
    private sealed class Setup
    {
        private const int LayerOffset = 4096;
        private readonly Gpu.Scope _gpu;
        private readonly LatentCase _case;
        private readonly LatentShape _shape;
        private readonly int[] _lengths;
        private readonly ScoreSelectKernel _kernel;
        private readonly LatentBasisLayer _basis;
        private readonly float[][] _queries;
        private readonly byte[][] _planes;
        private readonly DevicePtr<ushort> _qkv;
        private readonly DevicePtr<uint> _table;
        private readonly uint[][] _rowPages;
        private readonly DevicePtr<byte> _pages;
        private readonly StepInputs _inputs;
        private readonly DeviceBasis _deviceBasis;
        private readonly ScoreSelectKernel.Workspace _workspace;
        private readonly int _stride;

        public Setup(Gpu.Scope gpu, LatentCase spec, int[] lengths, int seed, Action<int[], Random>? content, float calibration, Action<float[]>? query)
        {
            (_gpu, _case, _lengths) = (gpu, spec, lengths);
            _shape = spec.Shape(lengths.Max());
            int rows = lengths.Length, rank = spec.ScoreRank, maxPages = _shape.MaxPages, element = spec.Int8 ? 1 : 2;
            _kernel = new ScoreSelectKernel(gpu.Load(ScoreSelectKernel.Program(_shape)));
            var common = new Inputs(seed);
            _basis = spec.Basis(common);
            _queries = new float[rows][];
            _planes = new byte[rows][];
            _stride = ((spec.QueryHeads + (2 * spec.KeyHeads)) * spec.HeadSize) + rank + 8;
            var qkv = new ushort[rows * _stride];
            Array.Fill(qkv, Bf16.NaN);
            var planeBytes = 64 * rank * element;
            var pageBytes = (LayerOffset + planeBytes + 4095) / 4096 * 4096 + 4096;
            var order = Enumerable.Range(1, lengths.Sum(l => CacheTimeline.LatentPages(l, spec.Spec))).ToArray();
            new Random(Random.Shared.Next()).Shuffle(order);
            var bytes = new byte[(order.Length + 1L) * pageBytes];
            Array.Fill(bytes, (byte)0xFF);
            var table = new uint[(rows + 1) * maxPages];
            var slots = Enumerable.Range(0, rows).ToArray();
            Random.Shared.Shuffle(slots);
            _rowPages = new uint[rows][];
            var next = 0;
            for (var row = 0; row < rows; row++)
            {
                // each row from a seed of its own, so that it is the same in another batch
                var own = new Inputs(seed + 1 + row);
                _queries[row] = own.Normal(rank);
                query?.Invoke(_queries[row]);
                Bf16.Narrow(_queries[row]).CopyTo(qkv, (row * _stride) + _stride - 8 - rank);
                var tokens = CacheTimeline.WindowStart(lengths[row], spec.Spec);
                _planes[row] = Plane(own, tokens, content, new Random(seed + row));
                for (var page = 0; page < tokens / 64; page++)
                {
                    var at = (long)order[next++] * pageBytes;
                    table[(slots[row] * maxPages) + page] = (uint)(at / 4096);
                    _planes[row].AsSpan(page * planeBytes, planeBytes).CopyTo(bytes.AsSpan((int)(at + LayerOffset)));
                }

                _rowPages[row] = table.AsSpan(slots[row] * maxPages, tokens / 64).ToArray();
            }

            _qkv = gpu.Upload<ushort>(qkv);
            _table = gpu.Upload<uint>(table);
            _pages = gpu.Upload<byte>(bytes);
            var parts = new ScoreParts(default, ScoreParts.BlocksOf(gpu.Device.Multiprocessors));
            if (parts.HaveFew(rows))
            {
                int[] units = [.. lengths.Select(l => CacheTimeline.CandidateCount(l, spec.Spec) > CacheTimeline.SelectedCount(l, spec.Spec) ? CacheTimeline.WindowStart(l, spec.Spec) / 32 : 0)];
                parts = parts with { Entries = gpu.Upload<ScorePart>(ScorePartsOracle.Of(units, lengths, slots, parts.Blocks)) };
            }

            _inputs = new StepInputs(default, gpu.Upload<int>([.. lengths.Select(l => l - 1)]), gpu.Upload<int>(slots), default) { Parts = parts };
            _deviceBasis = new DeviceBasis(
                default,
                default,
                1,
                default,
                default,
                gpu.Upload<float>(_basis.Scale),
                default,
                gpu.Upload<float>([.. _basis.LatentMean.Take(rank).Select(m => m * calibration)]),
                gpu.Upload<float>([.. _basis.LatentVariance.Take(rank).Select(v => v * calibration * calibration)]));
            var arena = gpu.Arena(ScoreSelectKernel.Workspace.Bytes(rows, maxPages));
            gpu.Stream.Fill(arena.Start, arena.Bytes, 0xFF);
            _workspace = ScoreSelectKernel.Workspace.Take(arena, gpu.Stream, rows, maxPages);
        }

        /// <summary>Keys [WindowStart] and the positions in the row of the list, of each row; that they bring their pages is checked here.</summary>
        public (uint[][] Keys, int[][] Selected) Run(int launches = 1)
        {
            var rows = _lengths.Length;
            var selected = _gpu.Poisoned<SelectedToken>(rows * _shape.SelectedStride);
            for (var i = 0; i < launches; i++)
            {
                _kernel.Launch(_gpu.Stream, _qkv, _stride, _inputs, _table, _pages, LayerOffset, _deviceBasis, _workspace, selected, rows);
            }

            var all = _gpu.Download(selected, rows * _shape.SelectedStride);
            for (var i = 0; i < all.Length; i++)
            {
                Assert.Equal(all[i].Position < 0 ? uint.MaxValue : _rowPages[i / _shape.SelectedStride][all[i].Position / 64], all[i].Page);
            }

            return (
                [.. _lengths.Select((l, row) => _gpu.Download(_workspace.Keys + ((long)row * _shape.MaxPages * 64), CacheTimeline.WindowStart(l, _case.Spec)))],
                [.. _lengths.Select((_, row) => all.Skip(row * _shape.SelectedStride).Take(_shape.SelectedStride).Select(token => token.Position).ToArray())]);
        }

        public void Check(uint[][] keys, int[][] selected, string what)
        {
            for (var row = 0; row < _lengths.Length; row++)
            {
                int length = _lengths[row], sinks = CacheTimeline.SinkCount(length, _case.Spec), count = CacheTimeline.SelectedCount(length, _case.Spec);
                var expected = Enumerable.Repeat(-1, _shape.SelectedStride).ToArray();
                if (CacheTimeline.CandidateCount(length, _case.Spec) > count)
                {
                    CheckScores(row, keys[row], what);
                    ScoreSelect.Select(keys[row].AsSpan(sinks), sinks, expected.AsSpan(0, count));
                }

                Assert.True(expected.AsSpan().SequenceEqual(selected[row]), $"row {row} of length {length}: another selection; {what}");
            }
        }

        // exact for int8; for bf16 within the rounding of the sum
        private void CheckScores(int row, uint[] keys, string what)
        {
            var rank = _case.ScoreRank;
            var codes = new int[rank];
            if (_case.Int8)
            {
                ScoreSelect.QuantiseQuery(_queries[row], _basis, codes);
            }

            var expected = new uint[keys.Length];
            ScoreSelect.Score(_queries[row], codes, _planes[row], _case.Format, _basis, expected);
            for (var t = 0; t < keys.Length; t++)
            {
                if (_case.Int8 || keys[t] == 0 || expected[t] == 0)
                {
                    Assert.True(expected[t] == keys[t], $"row {row}, token {t}: key {keys[t]}, expected {expected[t]}; {what}");
                    continue;
                }

                double sum = 0;
                for (var i = 0; i < rank; i++)
                {
                    sum += Math.Abs(_queries[row][i] * Bf16.Widen(MemoryMarshal.Cast<byte, ushort>(_planes[row])[(t * rank) + i]));
                }

                float e = Score(expected[t]), a = Score(keys[t]);
                Assert.True(e == a || Math.Abs(e - a) <= 1e-5 * sum, $"row {row}, token {t}: score {a}, expected {e}; {what}");
            }
        }

        private static float Score(uint key) => BitConverter.UInt32BitsToSingle((key & 0x8000_0000) != 0 ? key ^ 0x8000_0000 : ~key);

        // content: a number for each token, 1000.. standing for NaN, +inf and -inf; equal numbers are equal latents
        private byte[] Plane(Inputs inputs, int tokens, Action<int[], Random>? content, Random random)
        {
            var rank = _case.ScoreRank;

            // rows begin anywhere in one run of numbers: drawing each would take most of the test's time
            var pool = inputs.Normal((1 << 14) + rank);
            var latents = new float[tokens * rank];
            for (var t = 0; t < tokens; t++)
            {
                var from = pool.AsSpan(inputs.Next(1 << 14), rank);
                for (var i = 0; i < rank; i++)
                {
                    latents[(t * rank) + i] = (from[i] * MathF.Sqrt(_basis.LatentVariance[i])) + _basis.LatentMean[i];
                }
            }

            if (content is not null)
            {
                var kinds = new int[tokens];
                content(kinds, random);
                for (var t = 0; t < tokens; t++)
                {
                    var row = latents.AsSpan(t * rank, rank);
                    if (kinds[t] >= 1000)
                    {
                        row[0] = kinds[t] == 1000 ? float.NaN : kinds[t] == 1001 ? float.PositiveInfinity : float.NegativeInfinity;
                    }
                    else if (kinds[t] > 0)
                    {
                        for (var i = 0; i < rank; i++)
                        {
                            row[i] = MathF.Sin((kinds[t] * 31) + i);
                        }
                    }
                }
            }

            var plane = new byte[tokens * rank * (_case.Int8 ? 1 : 2)];
            for (var t = 0; t < tokens; t++)
            {
                var size = plane.Length / tokens;
                LatentCodec.Store(latents.AsSpan(t * rank, rank), _case.Format, _basis, 0, plane.AsSpan(t * size, size));
            }

            return plane;
        }
    }
}
