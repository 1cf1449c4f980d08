namespace Sals.Kernels.Cuda.Kernels.Shared;

/// <summary>Shared memory of kernels that rebuild keys, as <c>latent_keys.cuh</c> counts it.</summary>
internal static class LatentKeys
{
    // steps whose operands fit in registers
    private const int MostOperands = 16;

    /// <summary>BASIS_BYTES: one KV head's part of a <see cref="BasisImage"/>.</summary>
    public static int BasisBytes(LatentShape shape) => checked((int)BasisImage.BytesOf(1, shape.HeadSize, shape.GroupRank));

    /// <summary>STEPS: matrix instructions of 16 coordinates, in whole chunks of 64 bytes.</summary>
    public static int Steps(LatentShape shape) => Chunks(shape) * (shape.Int8 ? 4 : 2);

    /// <summary>RING_BYTES: latents of a warpgroup's 64 tokens, or half, a quarter, .. of them.</summary>
    /// <param name="computeCapability">10 * major + minor.</param>
    public static int RingBytes(LatentShape shape, int computeCapability)
    {
        var chunks = Chunks(shape);
        while (chunks % 2 == 0 && ((chunks * 4096) + (32 * 1024) > MostShared(computeCapability) || (Steps(shape) > MostOperands && chunks > 4)))
        {
            chunks /= 2;
        }

        return chunks * 4096;
    }

    /// <summary>MOST_SHARED: what a block may ask for.</summary>
    /// <param name="computeCapability">10 * major + minor.</param>
    public static int MostShared(int computeCapability) => computeCapability switch
    {
        >= 90 => 226 * 1024,
        86 or 89 => 98 * 1024,
        _ => 162 * 1024,
    };

    private static int Chunks(LatentShape shape) => ((shape.GroupRank * (shape.Int8 ? 1 : 2)) + 63) / 64;
}
