using System.Numerics.Tensors;

namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>gate[i] = gate[i] * sigmoid(gate[i]) * up[i], one row. Shazeer, "GLU Variants Improve Transformer" (2020).</summary>
internal static class SiluMul
{
    /// <param name="gate">[F], overwritten with the result.</param>
    /// <param name="up">[F]; overwritten, it holds an intermediate.</param>
    public static void Run(Span<float> gate, Span<float> up)
    {
        TensorPrimitives.Multiply(gate, up, up);
        TensorPrimitives.Sigmoid(gate, gate);
        TensorPrimitives.Multiply(gate, up, gate);
    }
}
