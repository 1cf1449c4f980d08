using System.Runtime.InteropServices;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Kernels.Cuda.Kernels.FlushPages;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;
using Xunit;

namespace Sals.Gpu.Tests.Kernels;

public class FlushPagesKernelTests
{
    [GpuTheory]
    [InlineData(128, 8, 256, 128, 1, true, 4, 32)]
    [InlineData(128, 8, 256, 128, 1, false, 4, 64)]
    [InlineData(128, 8, 128, 64, 1, true, 2, 32)]
    [InlineData(128, 4, 128, 128, 1, false, 2, 128)]
    [InlineData(64, 4, 64, 32, 1, true, 3, 32)]
    [InlineData(64, 3, 48, 16, 1, true, 3, 96)]
    [InlineData(64, 1, 64, 64, 1, false, 16, 32)]
    [InlineData(128, 32, 1024, 512, 1, true, 4, 32)]
    [InlineData(128, 32, 1024, 512, 4, true, 4, 32)]
    [InlineData(64, 6, 240, 144, 3, true, 4, 32)]
    [InlineData(128, 8, 256, 128, 2, false, 4, 32)]
    public void Page_equals_the_reference(int headSize, int keyHeads, int rank, int scoreRank, int groups, bool int8, int valueBits, int valueGroup)
    {
        var spec = new LatentCase
        {
            HeadSize = headSize,
            QueryHeads = keyHeads,
            KeyHeads = keyHeads,
            Rank = rank,
            ScoreRank = scoreRank,
            Groups = groups,
            Int8 = int8,
            ValueBits = valueBits,
            ValueGroup = valueGroup,
        };
        using var gpu = Gpu.Open();
        var test = new Setup(gpu, spec, pages: 3);
        test.Check(test.FlushHotPages());
    }

    [GpuTheory]
    [InlineData(true)]
    [InlineData(false)]
    public void Lane_and_hot_page_give_the_same_bytes(bool int8)
    {
        using var gpu = Gpu.Open();
        var test = new Setup(gpu, new LatentCase { Rank = 96, ScoreRank = 48, Int8 = int8 }, pages: 5);
        var hot = test.FlushHotPages();
        Assert.Equal(hot, test.FlushLane(0, 5));

        // in two parts, as chunks of a prompt end
        Assert.Equal(hot, test.FlushLane(0, 2, 3));
    }

    [GpuFact]
    public void Values_without_spread_or_out_of_range()
    {
        using var gpu = Gpu.Open();
        var test = new Setup(gpu, new LatentCase { Int8 = true, ValueBits = 4 }, pages: 1, values =>
        {
            values.AsSpan(0, 32).Fill(-3.5f);
            values.AsSpan(32, 32).Clear();
            values[64] = 1e30f;
            values[96] = -1e30f;
            values[128] = float.NaN;
            values[160] = float.PositiveInfinity;
            values[192] = float.NegativeInfinity;
            values[230] = 1e-8f;
            values.AsSpan(256, 256).Fill(1e-7f);
            values[300] = 2e-7f;
        });
        test.Check(test.FlushHotPages());
    }

    [GpuTheory]
    [InlineData(1e-4f)]
    [InlineData(300f)]
    public void Keys_of_unusual_size(float size)
    {
        using var gpu = Gpu.Open();
        var test = new Setup(gpu, new LatentCase { Int8 = true, Rank = 128, ScoreRank = 64 }, pages: 2, keySize: size);
        test.Check(test.FlushHotPages());
    }

    private sealed class Setup
    {
        private const int Layers = 2;
        private readonly Gpu.Scope _gpu;
        private readonly LatentCase _case;
        private readonly PageLayout _layout;
        private readonly FlushPagesKernel _kernel;
        private readonly Inputs _inputs = new();
        private readonly LatentBasisLayer _basis;
        private readonly RopeTable _table;
        private readonly int _count;
        private readonly int _first;
        private readonly float[] _keys;
        private readonly float[] _values;
        private readonly DevicePtr<float> _rope;
        private readonly DevicePtr<FlushedLayer> _layers;

        public Setup(Gpu.Scope gpu, LatentCase spec, int pages, Action<float[]>? values = null, float keySize = 1)
        {
            (_gpu, _case, _layout, _count) = (gpu, spec, spec.Layout, pages);
            _kernel = new FlushPagesKernel(gpu.Load(FlushPagesKernel.Program(spec.Shape(4096))), spec.Shape(4096));
            _basis = spec.Basis(_inputs, 0.1f * keySize * keySize, 0.3f * keySize);
            _first = 0;
            _table = new RopeTable(spec.Model.Rope, spec.HeadSize, pages * 64);
            _keys = _inputs.Normal(pages * 64 * spec.Width, keySize);
            _values = _inputs.Normal(_keys.Length, 0.7f);
            values?.Invoke(_values);
            for (var i = 0; i < _values.Length; i++)
            {
                _values[i] = Bf16.Widen(Bf16.Narrow(_values[i]));
            }

            var turns = new float[pages * 64 * spec.HeadSize];
            for (var p = 0; p < pages * 64; p++)
            {
                for (var i = 0; i < spec.HeadSize / 2; i++)
                {
                    turns[(p * spec.HeadSize) + (2 * i)] = _table.Cos(p)[i];
                    turns[(p * spec.HeadSize) + (2 * i) + 1] = _table.Sin(p)[i];
                }
            }

            _rope = gpu.Upload<float>(turns);
            var packed = new ushort[2 * spec.Rank * spec.Width];
            PackedProjection.Pack(_basis.Vectors, spec.Width, packed);
            var device = new DeviceBasis(default, default, 1, gpu.Upload<ushort>(packed), gpu.Upload<float>(_basis.Mean), default, gpu.Upload<float>(_basis.InverseScale), default, default);

            // two entries of one layer, the second a plane further on: the kernel must keep them apart
            _layers = gpu.Upload<FlushedLayer>(
            [
                FlushedLayer.Of(device, _basis.Eigenvalues, spec.Width, HotOffset(0), LatentOffset(0)),
                FlushedLayer.Of(device, _basis.Eigenvalues, spec.Width, HotOffset(1), LatentOffset(1)),
            ]);
        }

        private long HotPageBytes => (HotOffset(Layers) + 4095) / 4096 * 4096;

        private long LatentPageBytes => (LatentOffset(Layers) + 4095) / 4096 * 4096;

        /// <summary>Bytes of both layers of every latent page, in page order; 0xFF where nothing was written.</summary>
        public byte[] FlushHotPages()
        {
            var plane = _layout.ExactPlaneBytes;
            var hot = new byte[(_count + 1) * HotPageBytes];
            Array.Fill(hot, (byte)0xFF);
            var latentStart = hot.Length;
            var list = new FlushedPage[_count];
            var order = Enumerable.Range(1, _count).ToArray();
            Random.Shared.Shuffle(order);
            for (var p = 0; p < _count; p++)
            {
                for (var layer = 0; layer < Layers; layer++)
                {
                    var at = (int)((order[p] * HotPageBytes) + HotOffset(layer));
                    Page(_keys, p).CopyTo(hot.AsSpan(at));
                    Page(_values, p).CopyTo(hot.AsSpan(at + plane));
                }

                list[p] = new((uint)(order[p] * HotPageBytes / 4096), (uint)((latentStart + (p * LatentPageBytes)) / 4096), _first + (64 * p), 0);
            }

            var arena = _gpu.Poisoned<byte>(latentStart + (_count * LatentPageBytes));
            _gpu.Stream.Upload<byte>(hot, arena);
            _kernel.Launch(_gpu.Stream, _gpu.Upload<FlushedPage>(list), _count, _layers, Layers, _rope, arena);
            return _gpu.Download(arena + latentStart, (int)(_count * LatentPageBytes));
        }

        /// <summary>The same from a lane, layer by layer, pages in parts of these sizes.</summary>
        public byte[] FlushLane(int first, params int[] parts)
        {
            var arena = _gpu.Poisoned<byte>(4096 + (_count * LatentPageBytes));
            var table = _gpu.Upload<uint>([.. Enumerable.Range(0, _count).Select(p => (uint)(1 + (p * LatentPageBytes / 4096)))]);
            DevicePtr<ushort> keys = _gpu.Upload<ushort>(Bf16.Narrow(_keys)), values = _gpu.Upload<ushort>(Bf16.Narrow(_values));
            foreach (var count in parts)
            {
                for (var layer = 0; layer < Layers; layer++)
                {
                    _kernel.LaunchLane(_gpu.Stream, keys, values, table, first, count, _layers + layer, _rope, arena);
                }

                first += count;
            }

            return _gpu.Download(arena + 4096, (int)(_count * LatentPageBytes));
        }

        public void Check(byte[] pages)
        {
            var spec = _case.Spec;
            long codes = 0, off = 0;
            for (var p = 0; p < _count; p++)
            {
                var expected = new byte[_layout.LatentPageBytes];
                Array.Fill(expected, (byte)0xFF);
                var page = 64 * _case.Width;
                FlushPages.Run(_keys.AsSpan(p * page, page), _values.AsSpan(p * page, page), _first + (64 * p), _table, _basis, _layout, LatentCase.Layer, expected);
                for (var layer = 0; layer < Layers; layer++)
                {
                    var found = pages.AsSpan((int)((p * LatentPageBytes) + LatentOffset(layer)), _layout.LatentLayerBytes);
                    var latentBytes = _layout.ScorePlaneBytes + _layout.RestPlaneBytes;
                    off += Different(expected.AsSpan(0, latentBytes), found[..latentBytes]);
                    codes += 64 * spec.Rank;
                    CheckValues(expected.AsSpan(latentBytes, _layout.LatentLayerBytes - latentBytes), found[latentBytes..], p);
                }
            }

            Assert.True(off * 1000 <= codes, $"{off} of {codes} latents are off by one, at most 0.1% may be; {_case}, {_inputs}");
        }

        // NaN payloads of scales and fp16 values may differ, nothing else
        private void CheckValues(ReadOnlySpan<byte> expected, ReadOnlySpan<byte> found, int page)
        {
            var codeBytes = _case.ValueBits == 16 ? 0 : 64 * _layout.ValueRowBytes;
            Assert.True(expected[..codeBytes].SequenceEqual(found[..codeBytes]), $"page {page}: value codes differ; {_case}, {_inputs}");
            var want = MemoryMarshal.Cast<byte, Half>(expected[codeBytes..]);
            var have = MemoryMarshal.Cast<byte, Half>(found[codeBytes..]);
            for (var i = 0; i < want.Length; i++)
            {
                Assert.True(
                    Half.IsNaN(want[i]) ? Half.IsNaN(have[i]) : BitConverter.HalfToUInt16Bits(want[i]) == BitConverter.HalfToUInt16Bits(have[i]),
                    $"page {page}: fp16 {i} is {have[i]}, expected {want[i]}; {_case}, {_inputs}");
            }
        }

        private int Different(ReadOnlySpan<byte> expected, ReadOnlySpan<byte> found)
        {
            var count = 0;
            if (_case.Int8)
            {
                for (var i = 0; i < expected.Length; i++)
                {
                    var difference = Math.Abs((sbyte)expected[i] - (sbyte)found[i]);
                    Assert.True(difference <= 1, $"latent {i}: code {(sbyte)found[i]}, expected {(sbyte)expected[i]}; {_case}, {_inputs}");
                    count += difference;
                }

                return count;
            }

            // near zero the sums cancel and a step of bf16 is far below the rounding of their terms
            var want = MemoryMarshal.Cast<byte, ushort>(expected);
            var have = MemoryMarshal.Cast<byte, ushort>(found);
            for (var i = 0; i < want.Length; i++)
            {
                float e = Bf16.Widen(want[i]), a = Bf16.Widen(have[i]);
                Assert.True(Math.Abs(e - a) <= Math.Max(Math.Abs(e) / 128, 1e-5), $"latent {i}: {a}, expected {e}; {_case}, {_inputs}");
                count += want[i] == have[i] || Math.Abs(e) < 1e-3 ? 0 : 1;
            }

            return count;
        }

        private byte[] Page(float[] values, int page) => MemoryMarshal.AsBytes(Bf16.Narrow(values.AsSpan(page * 64 * _case.Width, 64 * _case.Width)).AsSpan()).ToArray();

        private long HotOffset(int layer) => layer * 2L * _layout.ExactPlaneBytes;

        private long LatentOffset(int layer) => layer * (long)_layout.LatentLayerBytes;
    }
}
