using MathNet.Numerics.LinearAlgebra;
using MathNet.Numerics.LinearAlgebra.Double;
using Sals.Engine.Models;

namespace Sals.Engine.Latent;

/// <summary>
/// A latent basis that is made for queries. The plain basis keeps the directions in which keys are large; this one keeps those in which errors of a key change logits:
/// it minimises E[(q . (k - k^))^2] over queries and keys, q rotated as rope does at random distances. Inside the latent, coordinates are turned and scaled so that
/// the leading ones carry most of the score's energy and all have mean square 1. Centred. Reconstruction and projection differ then: k^ = B z + mean, z = P (k - mean), P B = 1.
/// (Query-weighted subspaces: KQ-SVD, arXiv 2512.05916.)
/// </summary>
public static class WeightedBasis
{
    /// <summary>Distances between query and key over which rope is averaged.</summary>
    private const int Distances = 256;

    /// <summary>Directions that queries hardly see count as this share of the one they see most: without it, noise would be taken for freedom.</summary>
    private const double Floor = 1e-4;

    /// <param name="covariance">[D, D], of the centred keys before rope.</param>
    /// <param name="mean">[D]</param>
    /// <param name="rank">R of the spec that will use it; bases of other ranks differ.</param>
    /// <param name="span">Tokens over which distances are spread: the length that was calibrated with.</param>
    /// <param name="groups">Groups of KV heads with a basis of their own; coordinates come group after group.</param>
    public static LatentBasisLayer Of(
        double[] covariance, double[] mean, QueryMoments queries, int layer, ModelConfig model, RopeTable rope, int rank, int span, int groups = 1)
    {
        int width = model.KeyWidth, block = width / groups, share = rank / groups;
        Matrix<double> keys = Square(covariance, width), errors = SeenErrors(queries, layer, model, rope, span), scores = Square(queries.Summed(layer), width);
        float[] vectors = new float[rank * width], projection = new float[rank * width];
        for (var group = 0; group < groups; group++)
        {
            var first = group * block;
            Matrix<double> Own(Matrix<double> joint) => joint.SubMatrix(first, block, first, block);
            var (reconstruct, project) = Block(Own(keys), Own(errors), Own(scores), share);
            for (var n = 0; n < share; n++)
            {
                for (var d = 0; d < block; d++)
                {
                    var at = (((group * share) + n) * width) + first + d;
                    (vectors[at], projection[at]) = ((float)reconstruct[d, n], (float)project[n, d]);
                }
            }
        }

        return new LatentBasisLayer(vectors, [.. mean.Select(value => (float)value)], [.. Enumerable.Repeat(1f, rank)], new float[rank], projection);
    }

    /// <summary>B [channels, rank] and P [rank, channels] of one group.</summary>
    private static (Matrix<double> Reconstruct, Matrix<double> Project) Block(Matrix<double> keys, Matrix<double> errors, Matrix<double> queries, int rank)
    {
        var width = keys.RowCount;
        var (root, inverse) = Roots(errors, Floor);
        var seen = SymmetricEigen.Of(Symmetric(root * keys * root), width);
        var directions = Rows(seen.Vectors, rank, width);
        var project = directions * root;
        var reconstruct = inverse * directions.Transpose();

        // z has covariance diag(seen); the best RS coordinates of the score s . B z are the leading eigenvectors of L^1/2 B^T C_s B L^1/2
        var scale = DenseMatrix.CreateDiagonal(rank, rank, i => Math.Sqrt(Math.Max(seen.Values[i], 1e-12 * seen.Values[0])));
        var scores = scale * (reconstruct.Transpose() * queries * reconstruct) * scale;
        var turn = Rows(SymmetricEigen.Of(Symmetric(scores), rank).Vectors, rank, rank);
        return (reconstruct * scale * turn.Transpose(), turn * scale.Inverse() * project);
    }

    /// <summary>Block-diagonal [D, D]: for every KV head the sum over its query heads of E[R q q^T R^T], R rope's rotation at a distance.</summary>
    private static Matrix<double> SeenErrors(QueryMoments queries, int layer, ModelConfig model, RopeTable rope, int span)
    {
        var size = model.HeadSize;
        var seen = new DenseMatrix(model.KeyWidth, model.KeyWidth);
        for (var group = 0; group < model.KeyValueHeadCount; group++)
        {
            var moment = new double[size * size];
            for (var head = group * model.GroupSize; head < (group + 1) * model.GroupSize; head++)
            {
                System.Numerics.Tensors.TensorPrimitives.Add(moment, queries.Head(layer, head), moment);
            }

            var own = Square(moment, size);
            var average = new DenseMatrix(size, size);
            for (var i = 0; i < Distances; i++)
            {
                var rotation = Rotation(rope, (int)((long)i * (Math.Min(span, rope.PositionCount) - 1) / (Distances - 1)));
                average.Add(rotation * own * rotation.Transpose(), average);
            }

            seen.SetSubMatrix(group * size, group * size, average / Distances);
        }

        return seen;
    }

    /// <summary>Rope at one position as a matrix [DH, DH].</summary>
    private static DenseMatrix Rotation(RopeTable rope, int position)
    {
        var half = rope.HeadSize / 2;
        var rotation = new DenseMatrix(rope.HeadSize, rope.HeadSize);
        for (var i = 0; i < half; i++)
        {
            double cos = rope.Cos(position)[i], sin = rope.Sin(position)[i];
            rotation[i, i] = cos;
            rotation[i, i + half] = -sin;
            rotation[i + half, i] = sin;
            rotation[i + half, i + half] = cos;
        }

        return rotation;
    }

    private static (Matrix<double> Root, Matrix<double> Inverse) Roots(Matrix<double> matrix, double floor)
    {
        var size = matrix.RowCount;
        var eigen = SymmetricEigen.Of(Symmetric(matrix), size);
        var vectors = Rows(eigen.Vectors, size, size);
        double Value(int i) => Math.Sqrt(Math.Max(eigen.Values[i], floor * eigen.Values[0]));
        return (
            vectors.Transpose() * DenseMatrix.CreateDiagonal(size, size, Value) * vectors,
            vectors.Transpose() * DenseMatrix.CreateDiagonal(size, size, i => 1 / Value(i)) * vectors);
    }

    private static Matrix<double> Square(double[] rows, int size) => Rows(rows, size, size);

    /// <summary>The first rows of a row-major matrix.</summary>
    private static Matrix<double> Rows(double[] values, int rows, int columns) => DenseMatrix.OfColumnMajor(columns, rows, values.AsSpan(0, rows * columns).ToArray()).Transpose();

    private static double[] Symmetric(Matrix<double> matrix) => ((matrix + matrix.Transpose()) / 2).ToRowMajorArray();
}
