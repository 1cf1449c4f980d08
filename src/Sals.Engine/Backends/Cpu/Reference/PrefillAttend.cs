namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>
/// o[t] = softmax(q[t] . K[s] / sqrt(DH)) V[s] over s &lt;= t: one query head of a block of consecutive tokens of a prompt against the lane.
/// A token's scores, sums and products run over s in order, so its result does not depend on how the prompt is cut into blocks.
/// </summary>
internal static class PrefillAttend
{
    private const int Width = MatMul.Width;

    /// <summary>Floats of workspace for a block of <paramref name="rows"/> tokens in a lane of <paramref name="laneLength"/>.</summary>
    public static int WorkspaceSize(int rows, int laneLength) => rows * Stride(laneLength);

    /// <param name="q">Queries after rope, one row per token, [rows, qStride], the first DH of each.</param>
    /// <param name="offset">Lane row of the prompt's first token.</param>
    /// <param name="first">Position of the block's first token.</param>
    /// <param name="work">Of <see cref="WorkspaceSize"/>.</param>
    /// <param name="o">[rows, oStride], the first DH of each.</param>
    public static void Run(
        ReadOnlySpan<float> q, int qStride, int rows, CpuLane lane, int kvHead, int headSize, int offset, int first, Span<float> work, Span<float> o, int oStride)
    {
        // columns of the workspace are lane rows, counted from the start of the panel in which the prompt begins
        var stride = Stride(lane.Length);
        var begin = offset / Width * Width;
        var end = offset + first + rows;
        for (var panel = begin / Width; panel * Width < end; panel++)
        {
            MatMul.Run(q, qStride, rows, lane.KeyPanel(kvHead, panel), headSize, work[((panel * Width) - begin)..], stride, Width);
        }

        Span<float> total = stackalloc float[rows];
        for (var r = 0; r < rows; r++)
        {
            var weights = work.Slice((r * stride) + offset - begin, first + rows);
            total[r] = Softmax.Run(weights[..(first + r + 1)], 1 / MathF.Sqrt(headSize));
            weights[(first + r + 1)..].Clear();
        }

        for (var panel = 0; panel * Width < headSize; panel++)
        {
            var columns = Math.Min(Width, headSize - (panel * Width));
            var values = lane.ValuePanel(kvHead, panel, offset, first + rows);
            MatMul.Run(work[(offset - begin)..], stride, rows, values, first + rows, o[(panel * Width)..], oStride, columns);
        }

        for (var r = 0; r < rows; r++)
        {
            foreach (ref var x in o.Slice(r * oStride, headSize))
            {
                x /= total[r];
            }
        }
    }

    // a prompt may begin within a panel, so one panel more than the lane's tokens
    private static int Stride(int laneLength) => (((laneLength + Width - 1) / Width) + 1) * Width;
}
