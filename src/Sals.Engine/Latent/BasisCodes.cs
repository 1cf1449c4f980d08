namespace Sals.Engine.Latent;

/// <summary>
/// The matrix that rebuilds keys from int8 latents, U[d, r] * Scale[r], as int8 codes with one scale for each channel d and 128 coordinates:
/// key[d] = mean[d] + sum over groups g of scale[g, d] * (sum of latent code[r] * code[d, r], an exact integer below 2^22).
/// </summary>
/// <param name="Values">[D, R], round(value / scale), ties to even, -127..127</param>
/// <param name="Scales">[ceil(R / 128), D], largest magnitude of the group / 127; 0 for a group of zeros</param>
public sealed record BasisCodes(sbyte[] Values, float[] Scales)
{
    /// <summary>Coordinates that share a scale.</summary>
    public const int Group = 128;

    public static BasisCodes Of(LatentBasisLayer basis)
    {
        int width = basis.Width, rank = basis.Rank, groups = (rank + Group - 1) / Group;
        var codes = new sbyte[width * rank];
        var scales = new float[groups * width];
        Parallel.For(0, width, d =>
        {
            for (var g = 0; g < groups; g++)
            {
                var largest = 0f;
                for (var r = g * Group; r < Math.Min(rank, (g + 1) * Group); r++)
                {
                    largest = MathF.Max(largest, MathF.Abs(basis.Vectors[(r * width) + d] * basis.Scale[r]));
                }

                var scale = largest / 127;
                scales[(g * width) + d] = scale;
                for (var r = g * Group; scale > 0 && r < Math.Min(rank, (g + 1) * Group); r++)
                {
                    var code = MathF.Round(basis.Vectors[(r * width) + d] * basis.Scale[r] / scale, MidpointRounding.ToEven);
                    codes[(d * rank) + r] = (sbyte)Math.Clamp(code, -127, 127);
                }
            }
        });
        return new BasisCodes(codes, scales);
    }

    /// <summary>The basis vectors [R, D] that the codes stand for: code * scale / Scale[r], for latents already times their scales.</summary>
    public float[] Vectors(LatentBasisLayer basis)
    {
        int width = basis.Width, rank = basis.Rank;
        var vectors = new float[rank * width];
        for (var r = 0; r < rank; r++)
        {
            for (var d = 0; d < width; d++)
            {
                var code = Values[(d * rank) + r];
                vectors[(r * width) + d] = code == 0 ? 0 : code * Scales[(r / Group * width) + d] / basis.Scale[r];
            }
        }

        return vectors;
    }
}
