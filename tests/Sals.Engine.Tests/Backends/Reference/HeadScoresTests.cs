using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Latent;
using Sals.Engine.Tests.Latent;
using Xunit;

namespace Sals.Engine.Tests.Backends.Reference;

public class HeadScoresTests
{
    private const int Rank = 4;

    [Theory]
    [InlineData(1, 1)]
    [InlineData(3, 1)]
    [InlineData(2, 5)]
    public void Standardised_scores_have_mean_0_and_deviation_1_over_the_latents_of_calibration(int heads, int bands)
    {
        var random = new Random((10 * heads) + bands);
        var basis = Basis(random);
        var queries = Enumerable.Range(0, bands * heads * Rank).Select(_ => random.NextSingle() - 0.5f).ToArray();
        var biases = Enumerable.Range(0, bands * heads).Select(_ => bands == 1 ? 0 : 3 * random.NextSingle()).ToArray();
        var pages = Enumerable.Range(0, bands).Select(_ => random.Next(1, 5)).ToArray();
        var before = (Queries: (float[])queries.Clone(), Biases: (float[])biases.Clone());
        HeadScores.Standardise(queries, biases, pages, basis);
        for (var head = 0; head < heads; head++)
        {
            var (z, raw) = (Population(queries, biases, head), Population(before.Queries, before.Biases, head));
            Assert.Equal(0, z.Average(), 1e-5);
            Assert.Equal(1, z.Average(v => v * v), 1e-5);

            // the same order as before
            Assert.Equal(Enumerable.Range(0, raw.Length).OrderBy(i => raw[i]), Enumerable.Range(0, z.Length).OrderBy(i => z[i]));
        }

        // every combination of one deviation above and below the mean, in every page: the moments of the basis, and no correlation
        double[] Population(float[] query, float[] bias, int head) =>
        [
            .. from band in Enumerable.Range(0, bands)
               from page in Enumerable.Range(0, pages[band])
               from signs in Enumerable.Range(0, 1 << Rank)
               select bias[(band * heads) + head] + Enumerable.Range(0, Rank).Sum(i =>
                   query[(((band * heads) + head) * Rank) + i] * (basis.LatentMean[i] + (((signs >> i) % 2 == 0 ? 1 : -1) * Math.Sqrt(basis.LatentVariance[i])))),
        ];
    }

    [Fact]
    public void A_head_whose_score_does_not_vary_says_nothing()
    {
        var basis = Basis(new Random(1));
        float[] queries = [0, 0, 0, 0, 1, 0, 0, 0];
        float[] biases = [5, 5];
        HeadScores.Standardise(queries, biases, [3], basis);
        Assert.Equal([0, 0, 0, 0], queries[..4]);
        Assert.Equal(0, biases[0]);
        Assert.Equal(1 / Math.Sqrt(basis.LatentVariance[0]), queries[4], 1e-5);
    }

    [Fact]
    public void Heads_are_put_together_as_the_sum_of_exponentials()
    {
        var random = new Random(4);
        const int heads = 3, tokens = 50;
        var scores = Enumerable.Range(0, heads * tokens).Select(_ => 8 * (random.NextSingle() - 0.5f)).ToArray();
        scores[7] = 400; // beyond what exp holds
        var keys = new uint[tokens];
        HeadScores.Combine(scores, keys);
        for (var t = 0; t < tokens; t++)
        {
            double[] own = [.. Enumerable.Range(0, heads).Select(head => (double)scores[(head * tokens) + t])];
            Assert.Equal(own.Max() + Math.Log(own.Sum(z => Math.Exp(z - own.Max()))), ScoreSelect.ScoreOf(keys[t]), 1e-5 * Math.Max(1, own.Max()));
        }
    }

    [Fact]
    public void Not_a_number_of_one_head_is_the_least()
    {
        var keys = new uint[2];
        HeadScores.Combine([1, 2, float.NaN, -50], keys);
        Assert.Equal(0u, keys[0]);
        Assert.True(keys[1] > 0);
    }

    private static LatentBasisLayer Basis(Random random)
    {
        var vectors = RandomBasis.Create(random, 8, Rank, centred: true);
        float[] means = [.. Enumerable.Range(0, Rank).Select(_ => random.NextSingle() - 0.5f)];
        return new LatentBasisLayer(vectors.Vectors, vectors.Mean, [.. means.Select((m, i) => (m * m) + (4f / (1 + i)))], means);
    }
}
