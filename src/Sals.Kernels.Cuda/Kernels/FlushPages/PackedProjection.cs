namespace Sals.Kernels.Cuda.Kernels.FlushPages;

/// <summary>
/// U^T of one layer as flush_pages and scoring_query read it: two fp16 halves whose sum is the vector to about 2^-22, both multiplied by a power of two
/// that keeps the low half out of fp16's subnormal numbers.
/// </summary>
public static class PackedProjection
{
    /// <summary>Power of two near sqrt(D), by which entries of a unit vector of D channels come near 1 and stay below 256.</summary>
    public static float Scale(int keyWidth) => MathF.ScaleB(1, (int)Math.Round(Math.Log2(keyWidth) / 2));

    /// <summary>Power of two by which keys of root mean square sqrt(sum of the eigenvalues / D) come near 1; 1 when that is 0.</summary>
    /// <param name="eigenvalues">Mean squares of the latent coordinates.</param>
    public static float KeyScale(ReadOnlySpan<float> eigenvalues, int keyWidth)
    {
        var power = 0.0;
        foreach (var eigenvalue in eigenvalues)
        {
            power += Math.Max(0, eigenvalue);
        }

        return power > 0 && double.IsFinite(power) ? MathF.ScaleB(1, Math.Clamp(-(int)Math.Round(Math.Log2(power / keyWidth) / 2), -60, 60)) : 1;
    }

    /// <param name="vectors">[R, D], an eigenvector a row</param>
    /// <param name="packed">[2, R, D] fp16: high halves, then low halves</param>
    public static void Pack(ReadOnlySpan<float> vectors, int keyWidth, Span<ushort> packed)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(packed.Length, 2 * vectors.Length);
        var scale = Scale(keyWidth);
        for (var i = 0; i < vectors.Length; i++)
        {
            var value = vectors[i] * scale;
            var high = (Half)value;
            packed[i] = BitConverter.HalfToUInt16Bits(high);
            packed[vectors.Length + i] = BitConverter.HalfToUInt16Bits((Half)(value - (float)high));
        }
    }
}
