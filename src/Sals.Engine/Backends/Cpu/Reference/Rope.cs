namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>
/// Rotary position embedding of one token, in place; pairs are (i, i + DH/2), the half-split form of Hugging Face checkpoints:
/// x[i] = x[i] cos[i] - x[i + DH/2] sin[i]; x[i + DH/2] = x[i + DH/2] cos[i] + x[i] sin[i]. Su et al., "RoFormer" (2021).
/// </summary>
internal static class Rope
{
    /// <param name="heads">[heads, DH]</param>
    /// <param name="cos">[DH/2] of the token's position, sin alike.</param>
    public static void Run(Span<float> heads, ReadOnlySpan<float> cos, ReadOnlySpan<float> sin)
    {
        var half = cos.Length;
        Span<float> turned = stackalloc float[half];
        for (; heads.Length > 0; heads = heads[(2 * half)..])
        {
            var a = heads[..half];
            var b = heads.Slice(half, half);
            for (var i = 0; i < half; i++)
            {
                turned[i] = (a[i] * cos[i]) - (b[i] * sin[i]);
                b[i] = (b[i] * cos[i]) + (a[i] * sin[i]);
            }

            turned.CopyTo(a);
        }
    }
}
