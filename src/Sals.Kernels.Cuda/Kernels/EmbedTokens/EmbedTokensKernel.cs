using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.EmbedTokens;

/// <summary>Launcher of embed_tokens.cu: x[b] = embedding[token[b]].</summary>
public sealed class EmbedTokensKernel(KernelModule module)
{
    private readonly Kernel _kernel = module.Get("embed_tokens");

    /// <param name="hidden">H, a multiple of 8.</param>
    /// <param name="vocabulary">V.</param>
    public static KernelProgram Program(int hidden, int vocabulary) =>
        KernelProgram.Create<Arguments>("embed_tokens.cu", ("H", hidden), ("V", vocabulary));

    /// <param name="embedding">[V, H] bf16</param>
    /// <param name="token">[B]</param>
    /// <param name="x">[B, H] bf16</param>
    public void Launch(CudaStream stream, DevicePtr<ushort> embedding, DevicePtr<int> token, DevicePtr<ushort> x, int rows)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(rows);
        var arguments = new Arguments { Embedding = embedding, Token = token, X = x };
        _kernel.Launch(stream, new Extent(rows), new Extent(128), 0, arguments, overlap: true);
    }

    private struct Arguments
    {
        public DevicePtr<ushort> Embedding;
        public DevicePtr<int> Token;
        public DevicePtr<ushort> X;
    }
}
