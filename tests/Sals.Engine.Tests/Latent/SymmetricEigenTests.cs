using Sals.Engine.Latent;
using Xunit;

namespace Sals.Engine.Tests.Latent;

public class SymmetricEigenTests
{
    [Fact]
    public void Two_by_two_by_hand()
    {
        // eigenvalues 3 and 1 with vectors (1, 1)/sqrt 2 and (1, -1)/sqrt 2
        var eigen = SymmetricEigen.Of([2, 1, 1, 2], 2);

        Assert.Equal(3, eigen.Values[0], 1e-14);
        Assert.Equal(1, eigen.Values[1], 1e-14);
        double half = Math.Sqrt(0.5);
        Assert.Equal(half, eigen.Vector(0)[0], 1e-14);
        Assert.Equal(half, eigen.Vector(0)[1], 1e-14);
        Assert.Equal(half, Math.Abs(eigen.Vector(1)[0]), 1e-14);
        Assert.Equal(-0.5, eigen.Vector(1)[0] * eigen.Vector(1)[1], 1e-14);
    }

    [Fact]
    public void A_diagonal_matrix_is_sorted()
    {
        var eigen = SymmetricEigen.Of([-1, 0, 0, 0, 5, 0, 0, 0, 2], 3);

        Assert.Equal([5, 2, -1], eigen.Values);
        Assert.Equal([0, 1, 0, 0, 0, 1, 1, 0, 0], eigen.Vectors);
    }

    [Theory]
    [InlineData(1)]
    [InlineData(7)]
    [InlineData(64)]
    [InlineData(256)]
    public void Vectors_are_orthonormal_and_diagonalise_the_matrix(int size)
    {
        double[] matrix = RandomCovariance(size, seed: size);

        var eigen = SymmetricEigen.Of(matrix, size);

        double scale = eigen.Values[0];
        for (int i = 0; i < size; i++)
        {
            var vector = eigen.Vector(i).ToArray();
            for (int j = 0; j <= i; j++)
            {
                Assert.Equal(i == j ? 1 : 0, Dot(vector, eigen.Vector(j)), 1e-12);
            }

            double largest = vector.MaxBy(Math.Abs);
            Assert.True(largest > 0);
            for (int row = 0; row < size; row++)
            {
                Assert.Equal(eigen.Values[i] * vector[row], Dot(vector, matrix.AsSpan(row * size, size)), 1e-12 * scale);
            }
        }

        Assert.Equal(eigen.Values.OrderDescending(), eigen.Values);
        Assert.Equal(Enumerable.Range(0, size).Sum(i => matrix[i * size + i]), eigen.Values.Sum(), 1e-11 * scale * size);
    }

    [Fact]
    public void A_matrix_of_low_rank_has_small_eigenvalues_at_the_end()
    {
        // 5 keys of width 32 span 5 dimensions
        var set = new CovarianceSet(1, 32);
        var random = new Random(3);
        set.Add(0, [.. Enumerable.Range(0, 5 * 32).Select(_ => random.NextSingle() - 0.5f)]);

        var eigen = SymmetricEigen.Of(set.Covariance(0, centred: false), 32);

        Assert.True(eigen.Values[4] > 1e-3);
        Assert.All(eigen.Values[5..], value => Assert.Equal(0, value, 1e-15));
    }

    [Fact]
    public void The_matrix_is_left_as_it_was_and_the_result_repeats()
    {
        double[] matrix = RandomCovariance(40, seed: 9);
        double[] before = [.. matrix];

        var one = SymmetricEigen.Of(matrix, 40);
        var two = SymmetricEigen.Of(matrix, 40);

        Assert.Equal(before, matrix);
        Assert.Equal(one.Vectors, two.Vectors);
    }

    [Fact]
    public void What_is_no_finite_symmetric_matrix_is_refused()
    {
        Assert.Throws<ArgumentException>(() => SymmetricEigen.Of([1, 2, 3, 4], 2));
        Assert.Throws<ArgumentException>(() => SymmetricEigen.Of([1, double.NaN, double.NaN, 4], 2));
        Assert.Throws<ArgumentOutOfRangeException>(() => SymmetricEigen.Of([1, 2, 3], 2));
        Assert.Throws<ArgumentOutOfRangeException>(() => SymmetricEigen.Of([], 0));
    }

    private static double[] RandomCovariance(int size, int seed)
    {
        var random = new Random(seed);
        var set = new CovarianceSet(1, size);
        set.Add(0, [.. Enumerable.Range(0, 3 * size * size).Select(i => (random.NextSingle() - 0.4f) * (1 + i % size))]);
        return set.Covariance(0, centred: false);
    }

    private static double Dot(ReadOnlySpan<double> a, ReadOnlySpan<double> b)
    {
        double sum = 0;
        for (int i = 0; i < a.Length; i++)
        {
            sum += a[i] * b[i];
        }

        return sum;
    }
}
