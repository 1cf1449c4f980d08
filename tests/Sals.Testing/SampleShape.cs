using Sals.Kernels.Cuda.Kernels.Shared;

namespace Sals.Testing;

/// <summary>A compressed cache for tests of kernels and their arithmetic, which change with <c>with</c> what they are about.</summary>
public static class SampleShape
{
    /// <summary>sals-25 of a Llama 8B model: D 1024, int8 latents of half of it, 4-bit values, sequences of up to 32,768 tokens.</summary>
    public static LatentShape Latent { get; } = new()
    {
        HeadSize = 128,
        QueryHeads = 32,
        KeyHeads = 8,
        MaxPages = 512,
        Rank = 512,
        ScoreRank = 256,
        SinkTokens = 16,
        RecentTokens = 64,
        Sparsity = 8,
        CriticalMin = 432,
        CriticalMax = 2048,
        DenseBelow = 2048,
        ValueBits = 4,
        ValueGroup = 32,
        Int8 = true,
        SelectedStride = 2048,
    };
}
