using System.Runtime.InteropServices;
using System.Runtime.Intrinsics;

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
        for (; heads.Length > 0; heads = heads[(2 * half)..])
        {
            var i = 0;
            for (; i <= half - Vector512<float>.Count; i += Vector512<float>.Count)
            {
                ref var first = ref MemoryMarshal.GetReference(heads.Slice(i, Vector512<float>.Count));
                ref var second = ref MemoryMarshal.GetReference(heads.Slice(half + i, Vector512<float>.Count));
                var (a, b) = (Vector512.LoadUnsafe(ref first), Vector512.LoadUnsafe(ref second));
                var (c, s) = (Vector512.Create(cos.Slice(i, Vector512<float>.Count)), Vector512.Create(sin.Slice(i, Vector512<float>.Count)));
                ((a * c) - (b * s)).StoreUnsafe(ref first);
                ((b * c) + (a * s)).StoreUnsafe(ref second);
            }

            for (; i < half; i++)
            {
                var (a, b) = (heads[i], heads[half + i]);
                heads[i] = (a * cos[i]) - (b * sin[i]);
                heads[half + i] = (b * cos[i]) + (a * sin[i]);
            }
        }
    }
}
