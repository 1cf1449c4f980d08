using Sals.Engine.Backends.Cpu.Reference;
using Sals.Kernels.Cuda.Kernels.DenseAttend;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Kernels;

public class DenseAttendKernelTests
{
    private const int P = 64;

    [GpuFact]
    public void One_token() => Case().Lengths(1).MatchesReference();

    [GpuFact]
    public void Last_page_partly_filled() => Case().Lengths(P + 3).MatchesReference();

    [GpuFact]
    public void Exactly_one_page_and_one_run() => Case().Lengths(P, 512).MatchesReference();

    [GpuFact]
    public void One_token_into_the_second_run() => Case().Lengths(513).MatchesReference();

    [GpuFact]
    public void Rows_of_very_different_length() => Case().Lengths(1, 4096, 17, 1000).MatchesReference();

    [GpuFact]
    public void Runs_are_longer_in_longer_rows() => Case().Lengths(4096, 4097, 16384, 16385).MatchesReference();

    [GpuFact]
    public void More_than_sixteen_runs_are_merged_in_two_halves() =>
        Case(headSize: 64, queryHeads: 4, keyHeads: 1).Lengths((16 * 2048) + 1, 64 * 1024).MatchesReference();

    [GpuFact]
    public void Grouped_queries_of_eight() => Case(headSize: 128, queryHeads: 8, keyHeads: 1).Lengths(300, 5).MatchesReference();

    [GpuFact]
    public void Every_head_has_its_own_keys() => Case(headSize: 128, queryHeads: 4, keyHeads: 4).Lengths(300, 64).MatchesReference();

    [GpuFact]
    public void Groups_of_seven() => Case(headSize: 64, queryHeads: 14, keyHeads: 2).Lengths(513).MatchesReference();

    [GpuFact]
    public void Blocks_take_several_items_of_few_pages_and_of_eight() =>
        Case(headSize: 128, queryHeads: 32, keyHeads: 8).Lengths([.. Enumerable.Range(0, 48).Select(i => 512 + (i % 3 * 100) + 20)]).MatchesReference();

    [GpuFact]
    public void Blocks_take_many_items_of_few_heads() =>
        Case(headSize: 64, queryHeads: 32, keyHeads: 8).Lengths([.. Enumerable.Range(0, 12).Select(i => 6000 - (i * 411))]).MatchesReference();

    [GpuTheory]
    [InlineData(64, 8, 4)]
    [InlineData(64, 14, 2)]
    [InlineData(128, 32, 8)]
    [InlineData(128, 4, 4)]
    [InlineData(128, 8, 1)]
    public void Int8_codes_are_read_as_what_they_stand_for(int headSize, int queryHeads, int keyHeads) =>
        Case(headSize, queryHeads, keyHeads).Int8().Lengths(1, 4096, 17, 64, 67, 513, 9000).MatchesReference();

    // three of a block's warps have nothing to do and wait for the one that has
    [GpuFact]
    public void Many_short_rows_for_one_block() =>
        Case(headSize: 64, queryHeads: 32, keyHeads: 32).Lengths([.. Enumerable.Range(0, 250).Select(i => 1 + (i * 37 % 130))]).MatchesReference();

    [GpuFact]
    public void Claims_are_counted_from_zero_again()
    {
        using var gpu = Gpu.Open();
        var test = new Setup(gpu, 128, 32, 32, [.. Enumerable.Range(0, 40).Select(i => 200 + (i * 7))], Random.Shared.Next(), false);
        var first = test.Run();
        Close.Exactly(first, test.Run(), $"again, seed {test.Seed}");
        Close.To(test.Expected(), first, 6e-3, 1 / 100.0, $"seed {test.Seed}");
    }

    [GpuTheory]
    [InlineData(false)]
    [InlineData(true)]
    public void Row_is_the_same_bits_in_every_batch(bool int8)
    {
        using var gpu = Gpu.Open();
        var together = new Setup(gpu, 128, 8, 2, [700, 1, 5000, 64, 2049], seed: 7, int8);
        var all = together.Run();
        var width = 8 * 128;
        var alone = new Setup(gpu, 128, 8, 2, [700], seed: 7, int8).Run();
        Close.Exactly(alone, all.AsSpan(0, width), "row 0");

        Close.Exactly(all, together.Run(), "again");
    }

    /// <summary>As in a compressed layer, where rows with latent pages are another kernel's: of one run, of two, and of more than sixteen.</summary>
    [GpuFact]
    public void Rows_that_are_not_listed_are_left_alone()
    {
        using var gpu = Gpu.Open();
        var test = new Setup(gpu, 64, 4, 1, [100, 600, (16 * 2048) + 1, 101, 700, (17 * 2048) + 3, 64], Random.Shared.Next());
        var all = test.Run();
        var some = test.Run(row => row is 1 or 3 or 5);
        var width = 4 * 64;
        for (var row = 0; row < 7; row++)
        {
            var found = some.AsSpan(row * width, width);
            if (row is 1 or 3 or 5)
            {
                Close.Exactly(all.AsSpan(row * width, width), found, $"row {row}, seed {test.Seed}");
            }
            else
            {
                Assert.Equal(-1, found.IndexOfAnyExcept(Bf16.Widen(0xFFFF)));
            }
        }

        Assert.Equal(-1, test.Run(_ => false).AsSpan().IndexOfAnyExcept(Bf16.Widen(0xFFFF)));
        Close.Exactly(all, test.Run(), $"again, seed {test.Seed}");
    }

    private static Tester Case(int headSize = 128, int queryHeads = 8, int keyHeads = 2) => new(headSize, queryHeads, keyHeads);

    private sealed class Tester(int headSize, int queryHeads, int keyHeads)
    {
        private int[] _lengths = [];
        private bool _int8;

        public Tester Int8()
        {
            _int8 = true;
            return this;
        }

        public Tester Lengths(params int[] lengths)
        {
            _lengths = lengths;
            return this;
        }

        public void MatchesReference()
        {
            using var gpu = Gpu.Open();
            var test = new Setup(gpu, headSize, queryHeads, keyHeads, _lengths, Random.Shared.Next(), _int8);
            var expected = test.Expected();

            // probabilities are rounded to bf16 (2^-9 relative) before the product with V, the result once more
            Close.To(expected, test.Run(), 6e-3, 1 / 100.0, $"lengths {string.Join(' ', _lengths)}, seed {test.Seed}");
        }
    }

    /// <summary>Pages that lie scattered in the arena; every byte that no token owns is NaN.</summary>
    private sealed class Setup
    {
        private const int LayerOffset = 4096;
        private readonly Gpu.Scope _gpu;
        private readonly DenseAttendKernel _kernel;
        private readonly PlanStepKernel _plan;
        private readonly int[] _lengths;
        private readonly int _headSize;
        private readonly int _queryHeads;
        private readonly int _keyHeads;
        private readonly float[] _qkv;
        private readonly float[][] _keys;
        private readonly float[][] _values;
        private readonly DevicePtr<ushort> _deviceQkv;
        private readonly PlaneOffsets _planes;
        private readonly DevicePtr<uint> _table;
        private readonly DevicePtr<byte> _pages;
        private readonly DenseAttendKernel.Workspace _workspace;
        private readonly DevicePtr<int> _length;
        private readonly StepInputs _inputs;
        private readonly int _stride;
        private readonly DevicePtr<StepRow> _rows;

        public Setup(Gpu.Scope gpu, int headSize, int queryHeads, int keyHeads, int[] lengths, int seed, bool int8 = false)
        {
            (_gpu, _headSize, _queryHeads, _keyHeads, _lengths, Seed) = (gpu, headSize, queryHeads, keyHeads, lengths, seed);
            var random = new Random(seed);
            var slots = lengths.Length;
            var pagesOf = lengths.Select(l => (l + P - 1) / P).ToArray();
            var maxPages = pagesOf.Max() + 1;
            _kernel = new DenseAttendKernel(gpu.Load(DenseAttendKernel.Program(headSize, queryHeads, keyHeads, maxPages, int8)), headSize, queryHeads, keyHeads, gpu.Device.Multiprocessors, int8);
            _plan = new PlanStepKernel(gpu.Load(PlanStepKernel.Program(slots, 100)));
            var width = keyHeads * headSize;
            var qkvWidth = (queryHeads + (2 * keyHeads)) * headSize;
            // each row from a seed of its own, so that it is the same in another batch
            _qkv = [.. Enumerable.Range(0, slots).SelectMany(s => Normal(new Random(seed + s), qkvWidth, 1.5f))];
            _keys = [.. lengths.Select((l, s) => Normal(new Random(seed + 1000 + s), l * width, 1))];
            _values = [.. lengths.Select((l, s) => Normal(new Random(seed + 2000 + s), l * width, 1))];

            // a row ends with something else, as in a compressed layer
            _stride = qkvWidth + 24;
            var padded = new ushort[slots * _stride];
            Array.Fill(padded, Bf16.NaN);
            for (var s = 0; s < slots; s++)
            {
                Bf16.Narrow(_qkv.AsSpan(s * qkvWidth, qkvWidth)).CopyTo(padded, s * _stride);
            }

            _deviceQkv = gpu.Upload<ushort>(padded);

            var planeBytes = P * width * (int8 ? 1 : 2);
            _planes = new PlaneOffsets(LayerOffset, int8 ? LayerOffset + (2 * planeBytes) : 0);
            var pageBytes = (((LayerOffset + (2 * planeBytes) + (int8 ? 4 * P * keyHeads : 0)) / 4096) + 1) * 4096;
            var count = pagesOf.Sum();
            var order = Enumerable.Range(1, count).ToArray();
            random.Shuffle(order);
            var bytes = new byte[(long)(count + 1) * pageBytes];
            Array.Fill(bytes, (byte)0xFF);
            var table = new uint[(slots + 1) * maxPages];
            var next = 0;
            for (var s = 0; s < slots; s++)
            {
                for (var p = 0; p < pagesOf[s]; p++)
                {
                    var at = order[next++] * pageBytes;
                    table[(s * maxPages) + p] = (uint)(at / 4096);
                    var tokens = Math.Min(P, lengths[s] - (p * P));
                    if (int8)
                    {
                        Code(bytes, at, isValue: false, _keys[s].AsSpan(p * P * width, tokens * width));
                        Code(bytes, at, isValue: true, _values[s].AsSpan(p * P * width, tokens * width));
                        continue;
                    }

                    Buffer.BlockCopy(Bf16.Narrow(_keys[s].AsSpan(p * P * width, tokens * width)), 0, bytes, at + LayerOffset, tokens * width * 2);
                    Buffer.BlockCopy(Bf16.Narrow(_values[s].AsSpan(p * P * width, tokens * width)), 0, bytes, at + LayerOffset + planeBytes, tokens * width * 2);
                }
            }

            _table = gpu.Upload<uint>(table);
            _pages = gpu.Upload<byte>(bytes);
            var work = lengths.Sum(DenseRuns.Of);
            var arena = gpu.Arena(DenseAttendKernel.Workspace.Bytes(work, headSize, queryHeads));
            gpu.Stream.Fill(arena.Start, arena.Bytes, 0xFF);
            _workspace = DenseAttendKernel.Workspace.Take(arena, gpu.Stream, work, headSize, queryHeads);
            _length = gpu.Poisoned<int>(slots + 1);
            _inputs = new StepInputs(gpu.Poisoned<int>(slots), gpu.Poisoned<int>(slots), gpu.Poisoned<int>(slots), gpu.PoisonedList(slots, work));
            _rows = gpu.Upload<StepRow>(Enumerable.Range(0, slots).Select(s => new StepRow(s, 1, -1, s)).ToArray());
        }

        public int Seed { get; }

        /// <param name="listed">Rows to attend; null = all, as plan_step lists them.</param>
        public float[] Run(Func<int, bool>? listed = null)
        {
            // plan_step counts this step's token in
            _gpu.Stream.Upload<int>([.. _lengths.Select(l => l - 1), 0], _length);
            var sampling = _gpu.Upload<Sals.Kernels.Cuda.Kernels.SampleToken.SlotSampling>(new Sals.Kernels.Cuda.Kernels.SampleToken.SlotSampling[_lengths.Length]);
            _plan.Launch(_gpu.Stream, _rows, _length, _length, default, sampling, _inputs, _lengths.Length);
            var size = _lengths.Length * _queryHeads * _headSize;
            var o = _gpu.Poisoned<ushort>(size);
            var runs = listed is null ? _inputs.Runs : _gpu.UploadList([.. _lengths.Select((length, row) => listed(row) ? DenseRuns.Of(length) : 0)], _lengths);
            _kernel.Launch(_gpu.Stream, _deviceQkv, _stride, _inputs, runs, _table, _pages, _planes, _workspace, o, _lengths.Length);
            return _gpu.DownloadBf16(o, size);
        }

        /// <summary>Puts tokens into a page as codes and replaces them by what these stand for.</summary>
        private void Code(byte[] bytes, int page, bool isValue, Span<float> tokens)
        {
            var codes = new sbyte[_headSize];
            for (var i = 0; i * _headSize < tokens.Length; i++)
            {
                var row = tokens.Slice(i * _headSize, _headSize);
                var peak = HeadCodes.Quantise(row, codes);
                HeadCodes.Dequantise(codes, peak, row);
                var (t, head) = Math.DivRem(i, _keyHeads);
                Buffer.BlockCopy(codes, 0, bytes, page + LayerOffset + ((((isValue ? P : 0) + t) * _keyHeads) + head) * _headSize, _headSize);
                BitConverter.TryWriteBytes(bytes.AsSpan(page + (int)_planes.Peaks + (((((isValue ? _keyHeads : 0) + head) * P) + t) * 2)), peak);
            }
        }

        public float[] Expected()
        {
            var o = new float[_lengths.Length * _queryHeads * _headSize];
            var qkvWidth = (_queryHeads + (2 * _keyHeads)) * _headSize;
            Parallel.For(0, _lengths.Length * _queryHeads, i =>
            {
                var (row, head) = Math.DivRem(i, _queryHeads);
                var kv = head / (_queryHeads / _keyHeads) * _headSize;
                AttentionOracle.Run(
                    _qkv.AsSpan((row * qkvWidth) + (head * _headSize), _headSize),
                    _keys[row].AsSpan(kv),
                    _values[row].AsSpan(kv),
                    _keyHeads * _headSize,
                    _lengths[row],
                    o.AsSpan(i * _headSize, _headSize));
            });
            return o;
        }

        private static float[] Normal(Random random, int count, float scale)
        {
            var values = new float[count];
            for (var i = 0; i < count; i++)
            {
                values[i] = Bf16.Widen(Bf16.Narrow(
                    scale * (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()))));
            }

            return values;
        }
    }
}
