using System.Numerics.Tensors;
using System.Runtime.InteropServices;
using Sals.Engine.Paging;

namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>
/// Stored form of one head's key (after rope) or value of one token in int8 dense pages: a code for each channel and one peak,
/// x ~ code * (peak / 127).
/// </summary>
/// <remarks>
/// peak = the largest |x| rounded to bf16 (nearest even), 0 below 2^-100, where 127 / peak would leave float32; code = round(x * (127 / peak)), ties to even, clipped to
/// -127..127, so that the largest channel always has code 127. Float32 throughout: codes and peaks are the same on every device from the same x. A
/// head of zeros has peak 0; one that holds a NaN or an infinity reads back as NaN throughout. Keeping the peak instead of the scale costs no range at either
/// end, as a scale in fp16 would.
/// </remarks>
internal static class HeadCodes
{
    /// <summary>1 / 127: the value of code 1 where the peak is 1.</summary>
    public const float Unit = 1f / 127;

    private const float Least = 7.888609e-31f; // 2^-100

    /// <param name="head">[DH]</param>
    /// <param name="codes">[DH]</param>
    /// <returns>The peak, a bf16.</returns>
    public static ushort Quantise(ReadOnlySpan<float> head, Span<sbyte> codes)
    {
        var bits = LatentCodec.ToBFloat16(Math.Abs(TensorPrimitives.MaxMagnitude(head)));
        var peak = Widen(bits);
        var inverse = peak >= Least ? 127 / peak : 0;
        for (var i = 0; i < head.Length; i++)
        {
            codes[i] = LatentCodec.ToCode(head[i], inverse);
        }

        return peak < Least ? (ushort)0 : bits;
    }

    /// <param name="codes">[DH]</param>
    /// <param name="head">[DH]; two roundings, that of the scale and that of the product.</param>
    public static void Dequantise(ReadOnlySpan<sbyte> codes, ushort peak, Span<float> head)
    {
        TensorPrimitives.ConvertTruncating(codes, head);
        TensorPrimitives.Multiply(head, Widen(peak) * Unit, head);
    }

    private static float Widen(ushort bits) => BitConverter.UInt32BitsToSingle((uint)bits << 16);
}

/// <summary>Int8 keys and values of one layer in one dense page; t = 0..63.</summary>
internal readonly ref struct HeadPlanes(Span<byte> page, PageLayout layout, int layer)
{
    private readonly Span<byte> _codes = page.Slice((int)layout.KeyOffset(layer), 2 * layout.DensePlaneBytes);
    private readonly Span<byte> _peaks = page.Slice((int)layout.KeyPeakOffset(layer), 2 * layout.PeakPlaneBytes);

    /// <param name="keys">[HK, DH]</param>
    /// <param name="values">[HK, DH]</param>
    public void Store(int t, ReadOnlySpan<float> keys, ReadOnlySpan<float> values)
    {
        for (var (head, at) = (0, 0); at < layout.KeyWidth; head++, at += layout.HeadSize)
        {
            Peaks(values: false, head)[t] = HeadCodes.Quantise(keys.Slice(at, layout.HeadSize), Codes(values: false, t, head));
            Peaks(values: true, head)[t] = HeadCodes.Quantise(values.Slice(at, layout.HeadSize), Codes(values: true, t, head));
        }
    }

    /// <inheritdoc cref="Store"/>
    public void Load(int t, Span<float> keys, Span<float> values)
    {
        for (var (head, at) = (0, 0); at < layout.KeyWidth; head++, at += layout.HeadSize)
        {
            LoadHead(values: false, t, head, keys.Slice(at, layout.HeadSize));
            LoadHead(values: true, t, head, values.Slice(at, layout.HeadSize));
        }
    }

    /// <summary>The key or value of one head of token t, [DH].</summary>
    public void LoadHead(bool values, int t, int head, Span<float> row) => HeadCodes.Dequantise(Codes(values, t, head), Peaks(values, head)[t], row);

    /// <summary>[DH]</summary>
    public Span<sbyte> Codes(bool values, int t, int head) => MemoryMarshal.Cast<byte, sbyte>(
        _codes.Slice((values ? layout.DensePlaneBytes : 0) + (t * layout.KeyWidth) + (head * layout.HeadSize), layout.HeadSize));

    /// <summary>[P], bf16</summary>
    public Span<ushort> Peaks(bool values, int head) => MemoryMarshal.Cast<byte, ushort>(_peaks.Slice(
        (values ? layout.PeakPlaneBytes : 0) + (head * PageLayout.PageSize * sizeof(ushort)), PageLayout.PageSize * sizeof(ushort)));
}
