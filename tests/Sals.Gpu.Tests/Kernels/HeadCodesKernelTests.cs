using Sals.Engine.Backends.Cpu.Reference;
using Sals.Kernels.Cuda.Kernels.PrefillStore;
using Sals.Kernels.Cuda.Kernels.Rope;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Kernels;

/// <summary>Int8 keys and values where decode appends them, where a prompt stores them and where a prefix hit reads them: <see cref="HeadCodes"/> bit for bit.</summary>
public class HeadCodesKernelTests
{
    private const int P = 64;
    private const int CodesAt = 4096;

    [GpuTheory]
    [InlineData(64, 3)]
    [InlineData(128, 8)]
    public void Stored_codes_and_loaded_lanes_are_the_reference_s(int headSize, int keyHeads)
    {
        const int tokens = 150, first = 3;
        using var gpu = Gpu.Open();
        var inputs = new Inputs();
        var layout = new Layout(headSize, keyHeads);
        float[] keys = Special(inputs, tokens, headSize, keyHeads), values = [.. Special(inputs, tokens, headSize, keyHeads).Reverse()];
        uint[] table = [.. new[] { 2, 1, 3 }.Select(page => (uint)(page * layout.PageBytes / 4096)), 0];
        var kernel = new PrefillStoreKernel(gpu.Load(PrefillStoreKernel.Program(headSize, keyHeads)));
        var pages = gpu.Poisoned<byte>(4L * layout.PageBytes);
        var deviceTable = gpu.Upload<uint>(table);
        kernel.LaunchStore(
            gpu.Stream, deviceTable, pages, layout.Offsets, gpu.Upload<ushort>(Bf16.Narrow(keys)), gpu.Upload<ushort>(Bf16.Narrow(values)), first, tokens - first);
        var expected = Poisoned(4 * layout.PageBytes);
        var width = keyHeads * headSize;
        float[] backKeys = [.. Enumerable.Repeat(float.NaN, keys.Length)], backValues = [.. backKeys];
        for (var t = first; t < tokens; t++)
        {
            for (var head = 0; head < keyHeads; head++)
            {
                var at = (t * width) + (head * headSize);
                var page = (int)table[t / P] * 4096;
                layout.Put(expected, page, isValue: false, t % P, head, keys.AsSpan(at, headSize), backKeys.AsSpan(at, headSize));
                layout.Put(expected, page, isValue: true, t % P, head, values.AsSpan(at, headSize), backValues.AsSpan(at, headSize));
            }
        }

        Same(expected, gpu.Download(pages, expected.Length), inputs);

        var laneKeys = gpu.Poisoned<ushort>(keys.Length);
        var laneValues = gpu.Poisoned<ushort>(values.Length);
        kernel.LaunchLoad(gpu.Stream, deviceTable, pages, layout.Offsets, laneKeys, laneValues, first, tokens - first);
        Close.Exactly(Nearest(backKeys), Nearest(gpu.DownloadBf16(laneKeys, keys.Length)), $"keys, {inputs}");
        Close.Exactly(Nearest(backValues), Nearest(gpu.DownloadBf16(laneValues, values.Length)), $"values, {inputs}");
    }

    [GpuTheory]
    [InlineData(64, 4, 1)]
    [InlineData(128, 8, 2)]
    public void An_appended_row_has_the_codes_of_what_would_be_stored_exactly(int headSize, int queryHeads, int keyHeads)
    {
        const int rows = 3, maxPages = 4;
        using var gpu = Gpu.Open();
        var inputs = new Inputs();
        var layout = new Layout(headSize, keyHeads);
        var width = (queryHeads + (2 * keyHeads)) * headSize;
        var qkv = Bf16.Narrow(inputs.Normal(rows * width));
        var turns = inputs.Normal(128 * headSize); // any pairs of numbers turn
        var kernel = new RopeKernel(gpu.Load(RopeKernel.Program(headSize, queryHeads, keyHeads, maxPages)), queryHeads + (2 * keyHeads), headSize);

        // slot 0 at its second page's first token, slot 1 in the middle of its first; row 2 is padding: slot 2, page 0
        int[] position = [P, 17, 0];
        var table = new uint[3 * maxPages];
        (table[1], table[maxPages]) = ((uint)(2 * layout.PageBytes / 4096), (uint)(layout.PageBytes / 4096));
        var exactPages = Append(new PlaneOffsets(CodesAt));
        var codedPages = Append(layout.Offsets);
        var expected = Poisoned(3 * layout.PageBytes);
        var back = new float[headSize];
        for (var b = 0; b < rows; b++)
        {
            var page = (int)table[(b * maxPages) + (position[b] / P)] * 4096;
            for (var i = 0; i < 2 * keyHeads; i++)
            {
                var (isValue, head) = (i >= keyHeads, i % keyHeads);
                var exact = new ushort[headSize];
                var row = (isValue ? P : 0) + (position[b] % P);
                Buffer.BlockCopy(exactPages, page + CodesAt + (((row * keyHeads) + head) * headSize * 2), exact, 0, headSize * 2);
                layout.Put(expected, page, isValue, position[b] % P, head, Bf16.Widen(exact), back);
            }
        }

        Same(expected, codedPages, inputs);

        byte[] Append(PlaneOffsets planes)
        {
            var pages = gpu.Poisoned<byte>(3L * layout.PageBytes);
            kernel.LaunchAppend(
                gpu.Stream, gpu.Upload<ushort>(qkv), width, default, gpu.Upload<float>(turns), gpu.Upload<int>(position), gpu.Upload<int>([0, 1, 2]), gpu.Upload<uint>(table), pages,
                planes, rows);
            return gpu.Download(pages, 3 * layout.PageBytes);
        }
    }

    /// <summary>Heads of any size; some of zeros, too small to divide by, at the ends of the range, and with a number that is none.</summary>
    private static float[] Special(Inputs inputs, int tokens, int headSize, int keyHeads)
    {
        var values = inputs.Normal(tokens * keyHeads * headSize);
        for (var head = 0; head * headSize < values.Length; head++)
        {
            var factor = (head % 11) switch { 0 => 0f, 1 => 1e-31f, 2 => 1e-28f, 3 => 1e30f, 4 => 1e-5f, _ => 1f };
            foreach (ref var x in values.AsSpan(head * headSize, headSize))
            {
                x = Bf16.Widen(Bf16.Narrow(x * factor));
            }

            values[head * headSize] = (head % 53) switch { 20 => float.NaN, 21 => float.NegativeInfinity, _ => values[head * headSize] };
        }

        return values;
    }

    /// <summary>As bf16, with one NaN for all.</summary>
    private static float[] Nearest(float[] values) => [.. values.Select(x => float.IsNaN(x) ? float.NaN : Bf16.Widen(Bf16.Narrow(x)))];

    private static byte[] Poisoned(int count)
    {
        var bytes = new byte[count];
        Array.Fill(bytes, Poison.Byte);
        return bytes;
    }

    private static void Same(byte[] expected, byte[] actual, Inputs inputs)
    {
        for (var i = 0; i < expected.Length; i++)
        {
            Assert.True(expected[i] == actual[i], $"byte {i} is {actual[i]}, expected {expected[i]}, {inputs}");
        }
    }

    /// <summary>A page whose codes begin at 4,096, with room for exact planes there, and the peaks behind.</summary>
    private sealed class Layout(int headSize, int keyHeads)
    {
        private readonly int _plane = P * keyHeads * headSize;

        public int PageBytes => ((CodesAt + (4 * _plane) + (4 * P * keyHeads)) / 4096 + 1) * 4096;

        public PlaneOffsets Offsets => new(CodesAt, CodesAt + (4 * _plane));

        public void Put(byte[] bytes, int page, bool isValue, int t, int head, ReadOnlySpan<float> row, Span<float> back)
        {
            var codes = new sbyte[headSize];
            var peak = HeadCodes.Quantise(row, codes);
            HeadCodes.Dequantise(codes, peak, back);
            Buffer.BlockCopy(codes, 0, bytes, page + CodesAt + ((isValue ? 1 : 0) * _plane) + (((t * keyHeads) + head) * headSize), headSize);
            BitConverter.TryWriteBytes(bytes.AsSpan(page + (int)Offsets.Peaks + ((((isValue ? keyHeads : 0) + head) * P) + t) * 2), peak);
        }
    }
}
