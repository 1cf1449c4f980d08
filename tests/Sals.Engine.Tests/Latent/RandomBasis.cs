using Sals.Engine.Latent;

namespace Sals.Engine.Tests.Latent;

/// <summary>Orthonormal vectors by Gram-Schmidt from a seed, cut to a rank.</summary>
internal static class RandomBasis
{
    /// <summary>Bases of every compressed layer.</summary>
    public static LatentBasis Create(LatentSpec spec, int width, int seed = 3, float eigenvalue = 1)
    {
        var random = new Random(seed);
        return new LatentBasis(
            [.. Enumerable.Range(0, spec.LayerCount).Select(l => spec.DenseLayers.Contains(l) ? null : Create(random, width, spec.RankOf(l), spec.Centred, eigenvalue))], "random");
    }

    public static LatentBasisLayer Create(Random random, int width, int rank, bool centred, float eigenvalue = 1)
    {
        var rows = new double[rank][];
        for (var i = 0; i < rank; i++)
        {
            var row = Enumerable.Range(0, width).Select(_ => random.NextDouble() - 0.5).ToArray();
            for (var pass = 0; pass < 2; pass++)
            {
                for (var j = 0; j < i; j++)
                {
                    var dot = row.Zip(rows[j], (a, b) => a * b).Sum();
                    row = [.. row.Select((x, d) => x - dot * rows[j][d])];
                }
            }

            var norm = Math.Sqrt(row.Sum(x => x * x));
            rows[i] = [.. row.Select(x => x / norm)];
        }

        return new LatentBasisLayer(
            [.. rows.SelectMany(r => r).Select(x => (float)x)],
            [.. Enumerable.Range(0, width).Select(_ => centred ? random.NextSingle() - 0.5f : 0)],
            [.. Enumerable.Range(0, rank).Select(i => eigenvalue / (1 + i))],
            new float[rank]);
    }
}
