namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>
/// value_rotation=hadamard: each head's values times the orthonormal Hadamard matrix of its size before they are quantised, and again, for it is its own inverse, after. A
/// channel that is far larger than its neighbours no longer widens the range of its whole group.
/// </summary>
internal static class ValueRotation
{
    /// <param name="values">[HK, DH], DH a power of two; in place.</param>
    public static void Run(Span<float> values, int headSize)
    {
        for (; values.Length > 0; values = values[headSize..])
        {
            for (var step = 1; step < headSize; step *= 2)
            {
                for (var i = 0; i < headSize; i++)
                {
                    if ((i & step) == 0)
                    {
                        var (a, b) = (values[i], values[i + step]);
                        (values[i], values[i + step]) = (a + b, a - b);
                    }
                }
            }

            var scale = 1 / MathF.Sqrt(headSize);
            for (var i = 0; i < headSize; i++)
            {
                values[i] *= scale;
            }
        }
    }
}
