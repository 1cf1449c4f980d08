using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>
/// y[m, n] = sum over k of x[m, k] * w[n, k]: one fused multiply-add per k, k ascending, from zero. A result therefore depends on its own
/// row and weights only, never on how many rows are computed together nor on the machine's vector width: this is what the
/// backend's bit-exact promises rest on.
/// </summary>
/// <remarks>
/// The exception to "nothing cleverer than TensorPrimitives" in this folder, because the CPU is also the default for machines without a
/// GPU: weights come in panels of 32 outputs and a tile of up to 8 rows x 32 outputs stays in registers while k runs. Portable
/// vectors only; without 512-bit registers the runtime splits them. Spans are sliced to the exact extent before the loops, which then
/// run without bounds checks.
/// </remarks>
internal static class MatMul
{
    /// <summary>Outputs of a panel.</summary>
    public const int Width = PackedMatrix.PanelRows;

    /// <summary>Rows of the largest tile.</summary>
    public const int TileRows = 8;

    /// <summary>How a panel's elements become float32.</summary>
    private interface IPanelLoad<T>
    {
        /// <summary>Elements of T that hold the 32 outputs of one k.</summary>
        static abstract int Elements { get; }

        /// <summary>Outputs 0 .. 15 and 16 .. 31 of one k.</summary>
        static abstract (Vector512<float> Low, Vector512<float> High) Load(ref T panel, nuint at);
    }

    /// <summary>One panel of a weight matrix.</summary>
    /// <param name="x">[rows, xStride], the first K of each row.</param>
    /// <param name="y">[rows, yStride], of which columns [32 * panel, 32 * panel + 32) below N are written.</param>
    /// <param name="add">Adds to y instead of overwriting it (residual).</param>
    public static void Run(
        ReadOnlySpan<float> x, int xStride, int rows, PackedMatrix w, int panel, Span<float> y, int yStride, bool add = false)
    {
        var first = panel * Width;
        var columns = Math.Min(Width, w.Rows - first);
        if (w.IsNarrow)
        {
            Run<uint, NarrowLoad>(x, xStride, rows, w.Narrow(panel), w.Columns, y[first..], yStride, columns, add);
        }
        else
        {
            Run<float, WideLoad>(x, xStride, rows, w.Wide(panel), w.Columns, y[first..], yStride, columns, add);
        }
    }

    /// <summary>One float32 panel [k, 32] that is not a weight: keys or values of a prefill lane.</summary>
    /// <param name="columns">Outputs wanted, 1 .. 32.</param>
    public static void Run(
        ReadOnlySpan<float> x, int xStride, int rows, ReadOnlySpan<float> panel, int k, Span<float> y, int yStride, int columns, bool add = false) =>
        Run<float, WideLoad>(x, xStride, rows, panel, k, y, yStride, columns, add);

    private static void Run<T, TLoad>(
        ReadOnlySpan<float> x, int xStride, int rows, ReadOnlySpan<T> panel, int k, Span<float> y, int yStride, int columns, bool add)
        where TLoad : IPanelLoad<T>
    {
        Span<float> edge = stackalloc float[columns < Width ? TileRows * Width : 0];
        for (var row = 0; row < rows;)
        {
            var xs = x[(row * xStride)..];
            var count = rows - row >= 8 ? 8 : rows - row >= 4 ? 4 : rows - row >= 2 ? 2 : 1;
            if (columns == Width)
            {
                Tile<T, TLoad>(count, xs, xStride, panel, k, y[(row * yStride)..], yStride, add);
            }
            else
            {
                Tile<T, TLoad>(count, xs, xStride, panel, k, edge, Width, add: false);
                for (var r = 0; r < count; r++)
                {
                    var target = y.Slice((row + r) * yStride, columns);
                    for (var c = 0; c < columns; c++)
                    {
                        target[c] = (add ? target[c] : 0) + edge[(r * Width) + c];
                    }
                }
            }

            row += count;
        }
    }

    private static void Tile<T, TLoad>(
        int rows, ReadOnlySpan<float> x, int stride, ReadOnlySpan<T> panel, int k, Span<float> y, int yStride, bool add)
        where TLoad : IPanelLoad<T>
    {
        switch (rows)
        {
            case 8:
                Tile8<T, TLoad>(x, stride, panel, k, y, yStride, add);
                break;
            case 4:
                Tile4<T, TLoad>(x, stride, panel, k, y, yStride, add);
                break;
            case 2:
                Tile2<T, TLoad>(x, stride, panel, k, y, yStride, add);
                break;
            default:
                Tile1<T, TLoad>(x, stride, panel, k, y, yStride, add);
                break;
        }
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile8<T, TLoad>(ReadOnlySpan<float> x, int stride, ReadOnlySpan<T> panel, int k, Span<float> y, int yStride, bool add)
        where TLoad : IPanelLoad<T>
    {
        ref var w = ref MemoryMarshal.GetReference(panel[..(k * TLoad.Elements)]);
        ref var x0 = ref MemoryMarshal.GetReference(x[..k]);
        ref var x1 = ref MemoryMarshal.GetReference(x.Slice(1 * stride, k));
        ref var x2 = ref MemoryMarshal.GetReference(x.Slice(2 * stride, k));
        ref var x3 = ref MemoryMarshal.GetReference(x.Slice(3 * stride, k));
        ref var x4 = ref MemoryMarshal.GetReference(x.Slice(4 * stride, k));
        ref var x5 = ref MemoryMarshal.GetReference(x.Slice(5 * stride, k));
        ref var x6 = ref MemoryMarshal.GetReference(x.Slice(6 * stride, k));
        ref var x7 = ref MemoryMarshal.GetReference(x.Slice(7 * stride, k));
        Vector512<float> a0 = default, b0 = default;
        Vector512<float> a1 = default, b1 = default;
        Vector512<float> a2 = default, b2 = default;
        Vector512<float> a3 = default, b3 = default;
        Vector512<float> a4 = default, b4 = default;
        Vector512<float> a5 = default, b5 = default;
        Vector512<float> a6 = default, b6 = default;
        Vector512<float> a7 = default, b7 = default;
        for (nuint i = 0, at = 0; i < (nuint)k; i++, at += (nuint)TLoad.Elements)
        {
            var (u, v) = TLoad.Load(ref w, at);
            var s0 = Vector512.Create(Unsafe.Add(ref x0, i));
            a0 = Vector512.FusedMultiplyAdd(s0, u, a0);
            b0 = Vector512.FusedMultiplyAdd(s0, v, b0);
            var s1 = Vector512.Create(Unsafe.Add(ref x1, i));
            a1 = Vector512.FusedMultiplyAdd(s1, u, a1);
            b1 = Vector512.FusedMultiplyAdd(s1, v, b1);
            var s2 = Vector512.Create(Unsafe.Add(ref x2, i));
            a2 = Vector512.FusedMultiplyAdd(s2, u, a2);
            b2 = Vector512.FusedMultiplyAdd(s2, v, b2);
            var s3 = Vector512.Create(Unsafe.Add(ref x3, i));
            a3 = Vector512.FusedMultiplyAdd(s3, u, a3);
            b3 = Vector512.FusedMultiplyAdd(s3, v, b3);
            var s4 = Vector512.Create(Unsafe.Add(ref x4, i));
            a4 = Vector512.FusedMultiplyAdd(s4, u, a4);
            b4 = Vector512.FusedMultiplyAdd(s4, v, b4);
            var s5 = Vector512.Create(Unsafe.Add(ref x5, i));
            a5 = Vector512.FusedMultiplyAdd(s5, u, a5);
            b5 = Vector512.FusedMultiplyAdd(s5, v, b5);
            var s6 = Vector512.Create(Unsafe.Add(ref x6, i));
            a6 = Vector512.FusedMultiplyAdd(s6, u, a6);
            b6 = Vector512.FusedMultiplyAdd(s6, v, b6);
            var s7 = Vector512.Create(Unsafe.Add(ref x7, i));
            a7 = Vector512.FusedMultiplyAdd(s7, u, a7);
            b7 = Vector512.FusedMultiplyAdd(s7, v, b7);
        }

        Store(a0, b0, y[..Width], add);
        Store(a1, b1, y.Slice(1 * yStride, Width), add);
        Store(a2, b2, y.Slice(2 * yStride, Width), add);
        Store(a3, b3, y.Slice(3 * yStride, Width), add);
        Store(a4, b4, y.Slice(4 * yStride, Width), add);
        Store(a5, b5, y.Slice(5 * yStride, Width), add);
        Store(a6, b6, y.Slice(6 * yStride, Width), add);
        Store(a7, b7, y.Slice(7 * yStride, Width), add);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile4<T, TLoad>(ReadOnlySpan<float> x, int stride, ReadOnlySpan<T> panel, int k, Span<float> y, int yStride, bool add)
        where TLoad : IPanelLoad<T>
    {
        ref var w = ref MemoryMarshal.GetReference(panel[..(k * TLoad.Elements)]);
        ref var x0 = ref MemoryMarshal.GetReference(x[..k]);
        ref var x1 = ref MemoryMarshal.GetReference(x.Slice(1 * stride, k));
        ref var x2 = ref MemoryMarshal.GetReference(x.Slice(2 * stride, k));
        ref var x3 = ref MemoryMarshal.GetReference(x.Slice(3 * stride, k));
        Vector512<float> a0 = default, b0 = default;
        Vector512<float> a1 = default, b1 = default;
        Vector512<float> a2 = default, b2 = default;
        Vector512<float> a3 = default, b3 = default;
        for (nuint i = 0, at = 0; i < (nuint)k; i++, at += (nuint)TLoad.Elements)
        {
            var (u, v) = TLoad.Load(ref w, at);
            var s0 = Vector512.Create(Unsafe.Add(ref x0, i));
            a0 = Vector512.FusedMultiplyAdd(s0, u, a0);
            b0 = Vector512.FusedMultiplyAdd(s0, v, b0);
            var s1 = Vector512.Create(Unsafe.Add(ref x1, i));
            a1 = Vector512.FusedMultiplyAdd(s1, u, a1);
            b1 = Vector512.FusedMultiplyAdd(s1, v, b1);
            var s2 = Vector512.Create(Unsafe.Add(ref x2, i));
            a2 = Vector512.FusedMultiplyAdd(s2, u, a2);
            b2 = Vector512.FusedMultiplyAdd(s2, v, b2);
            var s3 = Vector512.Create(Unsafe.Add(ref x3, i));
            a3 = Vector512.FusedMultiplyAdd(s3, u, a3);
            b3 = Vector512.FusedMultiplyAdd(s3, v, b3);
        }

        Store(a0, b0, y[..Width], add);
        Store(a1, b1, y.Slice(1 * yStride, Width), add);
        Store(a2, b2, y.Slice(2 * yStride, Width), add);
        Store(a3, b3, y.Slice(3 * yStride, Width), add);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile2<T, TLoad>(ReadOnlySpan<float> x, int stride, ReadOnlySpan<T> panel, int k, Span<float> y, int yStride, bool add)
        where TLoad : IPanelLoad<T>
    {
        ref var w = ref MemoryMarshal.GetReference(panel[..(k * TLoad.Elements)]);
        ref var x0 = ref MemoryMarshal.GetReference(x[..k]);
        ref var x1 = ref MemoryMarshal.GetReference(x.Slice(1 * stride, k));
        Vector512<float> a0 = default, b0 = default;
        Vector512<float> a1 = default, b1 = default;
        for (nuint i = 0, at = 0; i < (nuint)k; i++, at += (nuint)TLoad.Elements)
        {
            var (u, v) = TLoad.Load(ref w, at);
            var s0 = Vector512.Create(Unsafe.Add(ref x0, i));
            a0 = Vector512.FusedMultiplyAdd(s0, u, a0);
            b0 = Vector512.FusedMultiplyAdd(s0, v, b0);
            var s1 = Vector512.Create(Unsafe.Add(ref x1, i));
            a1 = Vector512.FusedMultiplyAdd(s1, u, a1);
            b1 = Vector512.FusedMultiplyAdd(s1, v, b1);
        }

        Store(a0, b0, y[..Width], add);
        Store(a1, b1, y.Slice(1 * yStride, Width), add);
    }

    [MethodImpl(MethodImplOptions.AggressiveOptimization)]
    private static void Tile1<T, TLoad>(ReadOnlySpan<float> x, int stride, ReadOnlySpan<T> panel, int k, Span<float> y, int yStride, bool add)
        where TLoad : IPanelLoad<T>
    {
        ref var w = ref MemoryMarshal.GetReference(panel[..(k * TLoad.Elements)]);
        ref var x0 = ref MemoryMarshal.GetReference(x[..k]);
        Vector512<float> a0 = default, b0 = default;
        for (nuint i = 0, at = 0; i < (nuint)k; i++, at += (nuint)TLoad.Elements)
        {
            var (u, v) = TLoad.Load(ref w, at);
            var s0 = Vector512.Create(Unsafe.Add(ref x0, i));
            a0 = Vector512.FusedMultiplyAdd(s0, u, a0);
            b0 = Vector512.FusedMultiplyAdd(s0, v, b0);
        }

        Store(a0, b0, y[..Width], add);
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    private static void Store(Vector512<float> a, Vector512<float> b, Span<float> y, bool add)
    {
        ref var target = ref MemoryMarshal.GetReference(y[..Width]);
        if (add)
        {
            a += Vector512.LoadUnsafe(ref target);
            b += Vector512.LoadUnsafe(ref target, Width / 2);
        }

        a.StoreUnsafe(ref target);
        b.StoreUnsafe(ref target, Width / 2);
    }

    private readonly struct WideLoad : IPanelLoad<float>
    {
        public static int Elements => Width;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static (Vector512<float> Low, Vector512<float> High) Load(ref float panel, nuint at) =>
            (Vector512.LoadUnsafe(ref panel, at), Vector512.LoadUnsafe(ref panel, at + (Width / 2)));
    }

    /// <summary>bfloat16 is the upper half of a float32.</summary>
    private readonly struct NarrowLoad : IPanelLoad<uint>
    {
        public static int Elements => Width / 2;

        [MethodImpl(MethodImplOptions.AggressiveInlining)]
        public static (Vector512<float> Low, Vector512<float> High) Load(ref uint panel, nuint at)
        {
            var pairs = Vector512.LoadUnsafe(ref panel, at);
            return ((pairs << 16).AsSingle(), (pairs & Vector512.Create(0xffff0000u)).AsSingle());
        }
    }
}
