using System.Runtime.InteropServices;

namespace Sals.Kernels.Cuda.Kernels.Shared;

/// <summary>
/// The matrix U [D, R] that rebuilds keys, as <c>latent_keys.cuh</c> keeps it in shared memory: KV head after KV head, 64 coordinates after 64 coordinates,
/// [DH, 64] 16-bit numbers with the 16-byte pieces of row r permuted by XOR with r % 8. Rows and columns lie in the order in which a thread's registers
/// hold channels and latent coordinates.
/// </summary>
/// <param name="Bytes">[HK, ceil(RG / 64), DH, 64] fp16 for int8 latents, else bf16; RG = R / N coordinates of the head's group</param>
/// <param name="Bias">[D], in units of <paramref name="KeyScale"/>: key = KeyScale * (U latent + bias)</param>
/// <param name="KeyScale">A power of two.</param>
public sealed record BasisImage(byte[] Bytes, float[] Bias, float KeyScale)
{
    private const int Block = 64;

    // int8 latents are widened as 1024 + (code + 128), which the bias takes back
    private const double WidenedOffset = 1152;

    /// <summary>Bytes of a layer's image.</summary>
    /// <param name="groupRank">RG</param>
    public static long BytesOf(int keyHeads, int headSize, int groupRank) => (long)keyHeads * headSize * ((groupRank + Block - 1) / Block) * Block * sizeof(ushort);

    /// <param name="vectors">[R, D]: U transposed; of several groups of heads, what is outside a group's channels is not read.</param>
    /// <param name="scale">[R], value of code 1 of int8 latents; empty for bf16 latents.</param>
    /// <param name="mean">[D]</param>
    /// <param name="headSize">64 or 128.</param>
    /// <param name="groups">N, of the basis: the coordinates of group g are [g RS / N, (g + 1) RS / N) and as many of the R - RS behind RS.</param>
    /// <param name="scoreRank">RS; one group needs none.</param>
    public static BasisImage Of(float[] vectors, float[] scale, float[] mean, int headSize, int groups = 1, int scoreRank = 0)
    {
        int width = mean.Length, rank = vectors.Length / width / groups, blocks = (rank + Block - 1) / Block;
        var scored = scoreRank / groups;
        var int8 = scale.Length > 0;
        var keyScale = int8 ? KeyScaleOf(vectors, scale, width) : 1f;
        var image = new ushort[BytesOf(width / headSize, headSize, rank) / sizeof(ushort)];
        var bias = new float[width];
        Parallel.For(0, width, row =>
        {
            int head = row / headSize, n = row % headSize, channel = (head * headSize) + Channel(n, headSize);
            double sum = 0;
            var group = row / (width / groups);
            for (var at = 0; at < blocks * Block; at++)
            {
                int block = at / Block, place = at % Block, nth = (block * Block) + (int8 ? OfCodes(place) : OfHalves(place));
                ushort bits = 0;
                if (nth < rank)
                {
                    var r = nth < scored ? (group * scored) + nth : scoreRank + (group * (rank - scored)) + nth - scored;
                    var value = vectors[(r * width) + channel];
                    if (int8)
                    {
                        var half = (Half)(value * scale[r] / keyScale);
                        bits = BitConverter.HalfToUInt16Bits(half);
                        sum += (double)half;
                    }
                    else
                    {
                        var single = BitConverter.SingleToUInt32Bits(value);
                        bits = (ushort)((single + 0x7FFF + ((single >> 16) & 1)) >> 16);
                    }
                }

                var piece = (place / 8) ^ (n % 8);
                image[((((head * blocks) + block) * headSize) + n) * Block + (piece * 8) + (place % 8)] = bits;
            }

            bias[channel] = (float)((mean[channel] / (double)keyScale) - (WidenedOffset * sum));
        });
        return new BasisImage(MemoryMarshal.AsBytes<ushort>(image).ToArray(), bias, keyScale);
    }

    // the largest entry of U times scale becomes 2^13 to 2^14: far from fp16's largest, and what is 2^27 times smaller is still normal
    private static float KeyScaleOf(float[] vectors, float[] scale, int width)
    {
        var largest = 0f;
        for (var r = 0; r < scale.Length; r++)
        {
            for (var d = 0; d < width; d++)
            {
                largest = MathF.Max(largest, MathF.Abs(vectors[(r * width) + d] * scale[r]));
            }
        }

        return largest > 0 ? MathF.ScaleB(1, Math.Clamp(MathF.ILogB(largest) - 13, -100, 100)) : 1;
    }

    // channel of row n of a head: row 8 j + 2 t + e is the e-th of lane t's j-th pair, whose channels are contiguous in either half of the head
    private static int Channel(int n, int headSize)
    {
        int j = n / 8, t = n / 2 % 4, e = n % 2, half = headSize / 16;
        return (j / half * (headSize / 2)) + (t * (headSize / 8)) + (j % half * 2) + e;
    }

    // coordinate of place 16 s + 8 h + 2 t + e of 64: lane t loads 16 bytes, four codes a step s
    private static int OfCodes(int place) => (place / 2 % 4 * 16) + (place / 16 * 4) + (place / 8 % 2 * 2) + (place % 2);

    // of each 32: lane t loads 16 bytes, four numbers a step
    private static int OfHalves(int place) => (place / 32 * 32) + (place / 2 % 4 * 8) + (place / 16 % 2 * 4) + (place / 8 % 2 * 2) + (place % 2);
}
