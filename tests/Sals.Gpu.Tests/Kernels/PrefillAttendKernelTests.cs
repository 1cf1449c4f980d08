using Sals.Kernels.Cuda.Kernels.PrefillAttend;
using Sals.Kernels.Cuda.Runtime;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Kernels;

public class PrefillAttendKernelTests
{
    [GpuTheory]
    [InlineData(1, 0)]
    [InlineData(63, 0)]
    [InlineData(64, 0)]
    [InlineData(65, 0)]
    [InlineData(127, 0)]
    [InlineData(129, 0)]
    [InlineData(1000, 0)]
    [InlineData(1, 200)]
    [InlineData(100, 64)]
    [InlineData(130, 777)]
    public void Slice_matches_reference(int tokens, int first)
    {
        foreach (var (headSize, queryHeads, keyHeads) in (ReadOnlySpan<(int, int, int)>)[(64, 4, 2), (128, 4, 1), (128, 2, 2)])
        {
            using var gpu = Gpu.Open();
            var test = new Case(gpu, headSize, queryHeads, keyHeads, tokens, first);
            Close.To(test.Expected(), test.Run(0, tokens), 6e-3, 1 / 100.0, $"{tokens} tokens from {first}, head size {headSize}, {test.Inputs}");
        }
    }

    [GpuFact]
    public void Query_is_the_same_bits_in_every_slicing()
    {
        using var gpu = Gpu.Open();
        var test = new Case(gpu, 128, 4, 2, 300, 100);
        var whole = test.Run(0, 300);
        const int width = 4 * 128;
        foreach (var cut in (int[])[1, 64, 100, 129, 299])
        {
            Close.Exactly(whole.AsSpan(0, cut * width), test.Run(0, cut), $"before {cut}, {test.Inputs}");
            Close.Exactly(whole.AsSpan(cut * width), test.Run(cut, 300), $"from {cut}, {test.Inputs}");
        }
    }

    private sealed class Case
    {
        private readonly Gpu.Scope _gpu;
        private readonly PrefillAttendKernel _kernel;
        private readonly int _headSize;
        private readonly int _queryHeads;
        private readonly int _keyHeads;
        private readonly int _tokens;
        private readonly int _first;
        private readonly float[] _qkv;
        private readonly float[] _keys;
        private readonly float[] _values;
        private readonly DevicePtr<ushort> _deviceQkv;
        private readonly DevicePtr<ushort> _deviceKeys;
        private readonly DevicePtr<ushort> _deviceValues;

        public Case(Gpu.Scope gpu, int headSize, int queryHeads, int keyHeads, int tokens, int first)
        {
            (_gpu, _headSize, _queryHeads, _keyHeads, _tokens, _first) = (gpu, headSize, queryHeads, keyHeads, tokens, first);
            _kernel = new PrefillAttendKernel(gpu.Load(PrefillAttendKernel.Program(headSize, queryHeads, keyHeads)), headSize, queryHeads);
            var width = keyHeads * headSize;
            _qkv = Inputs.Normal(tokens * (queryHeads + (2 * keyHeads)) * headSize, 1.5f);
            _keys = Inputs.Normal((first + tokens) * width);
            _values = Inputs.Normal((first + tokens) * width);
            _deviceQkv = gpu.Upload<ushort>(Bf16.Narrow(_qkv));

            // what lies behind the slice in the lane is NaN
            _deviceKeys = gpu.Poisoned<ushort>((first + tokens + 200) * width);
            _deviceValues = gpu.Poisoned<ushort>((first + tokens + 200) * width);
            gpu.Stream.Upload<ushort>(Bf16.Narrow(_keys), _deviceKeys);
            gpu.Stream.Upload<ushort>(Bf16.Narrow(_values), _deviceValues);
        }

        public Inputs Inputs { get; } = new();

        /// <summary>Queries [begin, end) of the slice.</summary>
        public float[] Run(int begin, int end)
        {
            var size = (end - begin) * _queryHeads * _headSize;
            var o = _gpu.Poisoned<ushort>(size);
            var qkv = _deviceQkv + ((long)begin * (_queryHeads + (2 * _keyHeads)) * _headSize);
            _kernel.Launch(_gpu.Stream, qkv, _deviceKeys, _deviceValues, o, _first + begin, end - begin);
            return _gpu.DownloadBf16(o, size);
        }

        public float[] Expected()
        {
            var o = new float[_tokens * _queryHeads * _headSize];
            Parallel.For(0, _tokens * _queryHeads, i =>
            {
                var (row, head) = Math.DivRem(i, _queryHeads);
                var kv = head / (_queryHeads / _keyHeads) * _headSize;
                AttentionOracle.Run(
                    _qkv.AsSpan((row * (_queryHeads + (2 * _keyHeads)) * _headSize) + (head * _headSize), _headSize),
                    _keys.AsSpan(kv),
                    _values.AsSpan(kv),
                    _keyHeads * _headSize,
                    _first + row + 1,
                    o.AsSpan(i * _headSize, _headSize));
            });
            return o;
        }
    }
}
