using Sals.Engine.Backends.Cpu.Reference;
using Sals.Kernels.Cuda.Kernels.PrefillStore;
using Sals.Kernels.Cuda.Kernels.Rope;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Kernels;

public class RopeKernelTests
{
    private const int PageSize = 64;

    [GpuTheory]
    [InlineData(64, 8, 4, false)]
    [InlineData(64, 3, 1, true)]
    [InlineData(128, 4, 4, true)]
    [InlineData(128, 8, 2, false)]
    public void Appended_row_lands_in_its_page(int headSize, int queryHeads, int keyHeads, bool norms)
    {
        using var gpu = Gpu.Open();
        var test = new Case(gpu, headSize, queryHeads, keyHeads, norms, rows: 3, behind: 48);
        const int maxPages = 4, slots = 2;
        var planeBytes = PageSize * keyHeads * headSize * 2;
        const int layerOffset = 4096;
        var pageBytes = (((layerOffset + (2 * planeBytes)) / 4096) + 1) * 4096;
        uint Page(int index) => (uint)(index * pageBytes / 4096);

        // slot 0 at its second page's first token, slot 1 in the middle of its first; row 2 is padding: slot 2, page 0
        var table = new uint[(slots + 1) * maxPages];
        (table[1], table[maxPages]) = (Page(2), Page(1));
        int[] slot = [0, 1, slots], position = [PageSize, 17, 0];
        var pages = gpu.Poisoned<byte>(3L * pageBytes);
        test.Kernel.LaunchAppend(
            gpu.Stream, test.Qkv, test.Stride, test.Norms, test.Table, gpu.Upload<int>(position), gpu.Upload<int>(slot), gpu.Upload<uint>(table), pages, new PlaneOffsets(layerOffset), 3);
        var qkv = gpu.DownloadBf16(test.Qkv, 3 * test.Stride);
        var bytes = gpu.Download(pages, 3 * pageBytes);
        var written = new bool[bytes.Length];
        for (var b = 0; b < 3; b++)
        {
            var (query, key, value) = test.Expected(b, position[b]);
            Close.To(query, qkv.AsSpan(b * test.Stride, query.Length), 2e-3, 1 / 200.0, $"query {b}, {test.Inputs}");
            Close.Exactly(test.Behind(b), qkv.AsSpan((b * test.Stride) + test.Width, 48), $"what follows row {b}, {test.Inputs}");
            var at = ((b == 2 ? 0 : b == 0 ? 2 : 1) * pageBytes) + layerOffset + (position[b] % PageSize * keyHeads * headSize * 2);
            Close.To(key, Read(bytes, written, at, key.Length), 2e-3, 1 / 200.0, $"key {b}, {test.Inputs}");
            Close.Exactly(value, Read(bytes, written, at + planeBytes, value.Length), $"value {b}, {test.Inputs}");
        }

        for (var i = 0; i < bytes.Length; i++)
        {
            Assert.True(written[i] || bytes[i] == 0xFF, $"byte {i} was written");
        }
    }

    [GpuTheory]
    [InlineData(64, 8, 4, true)]
    [InlineData(128, 8, 2, false)]
    public void Lane_rows_follow_their_position(int headSize, int queryHeads, int keyHeads, bool norms)
    {
        const int first = 5, rows = 7;
        using var gpu = Gpu.Open();
        var test = new Case(gpu, headSize, queryHeads, keyHeads, norms, rows);
        var width = keyHeads * headSize;
        var keys = gpu.Poisoned<ushort>((first + rows) * width);
        var values = gpu.Poisoned<ushort>((first + rows) * width);
        test.Kernel.LaunchLane(gpu.Stream, test.Qkv, test.Norms, test.Table, keys, values, first, rows);
        var qkv = gpu.DownloadBf16(test.Qkv, rows * test.Width);
        float[] k = gpu.DownloadBf16(keys, (first + rows) * width), v = gpu.DownloadBf16(values, (first + rows) * width);
        for (var i = 0; i < rows; i++)
        {
            var (query, key, value) = test.Expected(i, first + i);
            Close.To(query, qkv.AsSpan(i * test.Width, query.Length), 2e-3, 1 / 200.0, $"query {i}, {test.Inputs}");
            Close.To(key, k.AsSpan((first + i) * width, width), 2e-3, 1 / 200.0, $"key {i}, {test.Inputs}");
            Close.Exactly(value, v.AsSpan((first + i) * width, width), $"value {i}, {test.Inputs}");
        }

        Assert.All(k[..(first * width)], x => Assert.True(float.IsNaN(x)));
    }

    [GpuFact]
    public void Pages_take_and_give_back_what_the_lane_held()
    {
        const int headSize = 64, keyHeads = 3, tokens = 130, first = 3, maxPages = 4;
        using var gpu = Gpu.Open();
        var inputs = new Inputs();
        const int width = keyHeads * headSize;
        float[] keys = inputs.Normal(tokens * width), values = inputs.Normal(tokens * width);
        const int pageBytes = ((2 * PageSize * width * 2 / 4096) + 2) * 4096;
        uint[] table = [2 * pageBytes / 4096, 1 * pageBytes / 4096, 3 * pageBytes / 4096, 0];
        Assert.Equal(maxPages, table.Length);
        var kernel = new PrefillStoreKernel(gpu.Load(PrefillStoreKernel.Program(headSize, keyHeads)));
        var pages = gpu.Poisoned<byte>(4L * pageBytes);
        var deviceTable = gpu.Upload<uint>(table);
        kernel.LaunchStore(
            gpu.Stream, deviceTable, pages, new PlaneOffsets(4096), gpu.Upload<ushort>(Bf16.Narrow(keys)), gpu.Upload<ushort>(Bf16.Narrow(values)), first, tokens - first);
        var backKeys = gpu.Poisoned<ushort>(tokens * width);
        var backValues = gpu.Poisoned<ushort>(tokens * width);
        kernel.LaunchLoad(gpu.Stream, deviceTable, pages, new PlaneOffsets(4096), backKeys, backValues, first, tokens - first);
        Close.Exactly(keys.AsSpan(first * width), gpu.DownloadBf16(backKeys, tokens * width).AsSpan(first * width), $"keys, {inputs}");
        Close.Exactly(values.AsSpan(first * width), gpu.DownloadBf16(backValues, tokens * width).AsSpan(first * width), $"values, {inputs}");
        var bytes = gpu.Download(pages, pageBytes);
        Assert.All(bytes, b => Assert.Equal(0xFF, b));
    }

    private static float[] Read(byte[] bytes, bool[] written, int at, int count)
    {
        Array.Fill(written, true, at, count * 2);
        var values = new ushort[count];
        Buffer.BlockCopy(bytes, at, values, 0, count * 2);
        return Bf16.Widen(values);
    }

    private sealed class Case
    {
        private const int Positions = 200;
        private readonly float[] _qkv;
        private readonly float[] _cos = [];
        private readonly float[] _sin = [];
        private readonly float[]? _queryNorm;
        private readonly float[]? _keyNorm;
        private readonly int _headSize;
        private readonly int _queryHeads;
        private readonly int _keyHeads;

        public Case(Gpu.Scope gpu, int headSize, int queryHeads, int keyHeads, bool norms, int rows, int behind = 0)
        {
            (_headSize, _queryHeads, _keyHeads) = (headSize, queryHeads, keyHeads);
            Width = (queryHeads + (2 * keyHeads)) * headSize;
            Stride = Width + behind;
            Kernel = new RopeKernel(gpu.Load(RopeKernel.Program(headSize, queryHeads, keyHeads, 4)), queryHeads + (2 * keyHeads), headSize);
            _qkv = Inputs.Normal(rows * Stride);
            Qkv = gpu.Upload<ushort>(Bf16.Narrow(_qkv));
            var half = headSize / 2;
            (_cos, _sin) = (new float[Positions * half], new float[Positions * half]);
            var table = new float[Positions * half * 2];
            for (var i = 0; i < Positions * half; i++)
            {
                var angle = i / half * Math.Pow(10000, -(i % half) / (double)half);
                (_cos[i], _sin[i]) = ((float)Math.Cos(angle), (float)Math.Sin(angle));
                (table[2 * i], table[(2 * i) + 1]) = (_cos[i], _sin[i]);
            }

            Table = gpu.Upload<float>(table);
            if (norms)
            {
                _queryNorm = Inputs.Normal(headSize, 0.3f, 1);
                _keyNorm = Inputs.Normal(headSize, 0.3f, 1);
                Norms = (gpu.Upload<ushort>(Bf16.Narrow(_queryNorm)), gpu.Upload<ushort>(Bf16.Narrow(_keyNorm)), 1e-6f);
            }
        }

        public Inputs Inputs { get; } = new();

        public RopeKernel Kernel { get; }

        public int Width { get; }

        /// <summary>Elements of a row: what follows Width is not rope's.</summary>
        public int Stride { get; }

        public DevicePtr<ushort> Qkv { get; }

        public DevicePtr<float> Table { get; }

        public (DevicePtr<ushort> Query, DevicePtr<ushort> Key, float Epsilon) Norms { get; }

        public float[] Behind(int row) => _qkv[((row * Stride) + Width)..((row + 1) * Stride)];

        public (float[] Query, float[] Key, float[] Value) Expected(int row, int position)
        {
            var all = _qkv.AsSpan(row * Stride, Width);
            var query = all[..(_queryHeads * _headSize)].ToArray();
            var key = all.Slice(_queryHeads * _headSize, _keyHeads * _headSize).ToArray();
            Turn(query, _queryNorm, position);
            Turn(key, _keyNorm, position);
            return (query, key, all[((_queryHeads + _keyHeads) * _headSize)..].ToArray());
        }

        private void Turn(float[] heads, float[]? gamma, int position)
        {
            for (var h = 0; gamma is not null && h < heads.Length; h += _headSize)
            {
                RmsNorm.Run(heads.AsSpan(h, _headSize), gamma, 1e-6f, heads.AsSpan(h, _headSize));
            }

            var half = _headSize / 2;
            Rope.Run(heads, _cos.AsSpan(position * half, half), _sin.AsSpan(position * half, half));
        }
    }
}
