using System.Numerics;
using Sals.Engine.Models;

namespace Sals.Engine.Latent;

/// <summary>
/// An orthonormal basis of random directions, for --load-format dummy: nothing of the model is in it, so text means nothing, but every kernel runs
/// at its real cost. Rows of a Hadamard matrix behind random signs, which are orthonormal to rounding and dense; a width that is no power of two is mixed
/// across blocks by reflections.
/// </summary>
public static class RandomLatentBasis
{
    private const int Reflections = 3;

    public static LatentBasis Of(LatentSpec spec, ModelConfig model, int seed = 1)
    {
        var layers = new LatentBasisLayer?[model.LayerCount];
        Parallel.ForEach(spec.SparseLayers, layer => layers[layer] = Layer(spec.OfLayer(layer), model.KeyWidth, new Random((seed * 1000) + layer)));
        return new LatentBasis(layers, $"random {seed}");
    }

    private static LatentBasisLayer Layer(LatentSpec spec, int width, Random random)
    {
        var vectors = spec.JoinGroups(width, _ => Orthonormal(spec.GroupRank, width / spec.BasisGroups, random));
        var mean = spec.Centred ? Enumerable.Range(0, width).Select(_ => 0.1f * (random.NextSingle() - 0.5f)).ToArray() : new float[width];
        return new LatentBasisLayer(vectors, mean, [.. Enumerable.Repeat(1f, spec.Rank)], new float[spec.Rank]);
    }

    /// <summary>[rank, width], rank &lt;= width.</summary>
    private static float[] Orthonormal(int rank, int width, Random random)
    {
        var vectors = new float[rank * width];
        var block = 1 << BitOperations.TrailingZeroCount(width);
        var signs = Enumerable.Range(0, width).Select(_ => random.Next(2) == 0 ? 1f : -1f).ToArray();
        var rows = Enumerable.Range(0, width).ToArray();
        random.Shuffle(rows);
        for (var i = 0; i < rank; i++)
        {
            // row of the block-diagonal Hadamard matrix: the sign is the parity of the common bits
            var (first, row) = (rows[i] / block * block, rows[i] % block);
            for (var j = 0; j < block; j++)
            {
                var odd = BitOperations.PopCount((uint)(row & j)) % 2 != 0;
                vectors[(i * width) + first + j] = signs[first + j] * (odd ? -1 : 1) / MathF.Sqrt(block);
            }
        }

        if (block < width)
        {
            Mix(vectors, width, random);
        }

        return vectors;
    }

    /// <summary>x - 2 (x . v) v for some random directions v of length 1.</summary>
    private static void Mix(float[] vectors, int width, Random random)
    {
        for (var k = 0; k < Reflections; k++)
        {
            var direction = Enumerable.Range(0, width).Select(_ => random.NextDouble() - 0.5).ToArray();
            var length = Math.Sqrt(direction.Sum(v => v * v));
            for (var begin = 0; begin < vectors.Length; begin += width)
            {
                var row = vectors.AsSpan(begin, width);
                double dot = 0;
                for (var j = 0; j < width; j++)
                {
                    dot += row[j] * direction[j] / length;
                }

                for (var j = 0; j < width; j++)
                {
                    row[j] -= (float)(2 * dot * direction[j] / length);
                }
            }
        }
    }
}
