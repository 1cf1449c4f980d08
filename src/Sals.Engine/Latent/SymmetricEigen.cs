using MathNet.Numerics.LinearAlgebra;
using MathNet.Numerics.LinearAlgebra.Double;

namespace Sals.Engine.Latent;

/// <summary>
/// Eigenvalues and eigenvectors of a symmetric matrix in double precision, in a reproducible form: values descending, and each vector
/// with the sign that makes its component of largest magnitude positive (the first of equals).
/// </summary>
public sealed class SymmetricEigen
{
    private SymmetricEigen(double[] values, double[] vectors)
    {
        Values = values;
        Vectors = vectors;
    }

    /// <summary>[N], descending.</summary>
    public double[] Values { get; }

    /// <summary>[N, N], row i = unit eigenvector of value i.</summary>
    public double[] Vectors { get; }

    /// <summary>Row i of <see cref="Vectors"/>, [N].</summary>
    public ReadOnlySpan<double> Vector(int i) => Vectors.AsSpan(i * Values.Length, Values.Length);

    /// <param name="matrix">[N, N], finite and symmetric; not changed.</param>
    /// <param name="size">N, at least 1.</param>
    /// <exception cref="ArgumentException">Not of that size, not finite, or not symmetric to 1e-9 of its largest entry.</exception>
    public static SymmetricEigen Of(double[] matrix, int size)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(size);
        ArgumentOutOfRangeException.ThrowIfNotEqual(matrix.LongLength, (long)size * size, nameof(matrix));
        Check(matrix, size);

        // column-major or row-major is one for a symmetric matrix; MathNet works on its own copy
        var evd = new DenseMatrix(size, size, matrix).Evd(Symmetricity.Symmetric);
        return From([.. evd.EigenValues.Select(value => value.Real)], evd.EigenVectors.ToColumnMajorArray());
    }

    /// <summary>What a solver found, put into the reproducible form.</summary>
    /// <param name="found">[N], in any order.</param>
    /// <param name="rows">[N, N], row i = unit eigenvector of found[i].</param>
    public static SymmetricEigen From(double[] found, double[] rows)
    {
        int size = found.Length;

        // stable, so that equal values keep one order
        int[] order = [.. Enumerable.Range(0, size).OrderByDescending(i => found[i])];
        double[] values = new double[size];
        double[] vectors = new double[rows.Length];
        for (int i = 0; i < size; i++)
        {
            values[i] = found[order[i]];
            var vector = vectors.AsSpan(i * size, size);
            rows.AsSpan(order[i] * size, size).CopyTo(vector);
            Orient(vector);
        }

        return new SymmetricEigen(values, vectors);
    }

    private static void Orient(Span<double> vector)
    {
        int largest = 0;
        for (int i = 1; i < vector.Length; i++)
        {
            if (Math.Abs(vector[i]) > Math.Abs(vector[largest]))
            {
                largest = i;
            }
        }

        if (vector[largest] < 0)
        {
            for (int i = 0; i < vector.Length; i++)
            {
                vector[i] = -vector[i];
            }
        }
    }

    private static void Check(double[] matrix, int size)
    {
        double largest = 0;
        foreach (double value in matrix)
        {
            if (!double.IsFinite(value))
            {
                throw new ArgumentException("the matrix has an entry that is not finite", nameof(matrix));
            }

            largest = Math.Max(largest, Math.Abs(value));
        }

        for (int row = 0; row < size; row++)
        {
            for (int column = 0; column < row; column++)
            {
                double difference = matrix[row * size + column] - matrix[column * size + row];
                if (Math.Abs(difference) > 1e-9 * largest)
                {
                    throw new ArgumentException($"the matrix is not symmetric: [{row}, {column}] and [{column}, {row}] differ by {difference}", nameof(matrix));
                }
            }
        }
    }
}
