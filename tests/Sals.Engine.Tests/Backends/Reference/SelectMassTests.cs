using Sals.Engine.Backends.Cpu.Reference;
using Xunit;

namespace Sals.Engine.Tests.Backends.Reference;

public class SelectMassTests
{
    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(3)]
    [InlineData(4)]
    [InlineData(5)]
    public void Counts_equal_a_plain_double_loop(int seed)
    {
        var random = new Random(seed);
        var scores = Enumerable.Range(0, 1 + random.Next(400)).Select(_ => random.Next(4) == 0 ? random.Next(3) : 20 * (random.NextSingle() - 0.5f)).ToArray();
        foreach (var share in new[] { 1e-9, 0.1, 0.5, 0.9, 0.999999 })
        {
            foreach (var scale in new[] { 0.01, 0.3, 5 })
            {
                var weights = scores.Order().Select(score => Math.Exp(scale * ((double)score - scores.Max()))).Reverse().ToArray();
                var expected = Enumerable.Range(1, weights.Length).First(k => k == weights.Length || weights[..k].Sum() >= share * weights.Sum());
                var found = SelectMass.Count(Keys(scores), share, scale, 1, int.MaxValue);

                // sums in another order may differ in the last digit
                Assert.InRange(found, expected - 1, expected + 1);
                Assert.True(found == expected || Math.Abs(weights[..expected].Sum() - (share * weights.Sum())) < 1e-9, $"seed {seed}, share {share}, scale {scale}");
                Assert.Equal(Math.Clamp(found, Math.Min(7, scores.Length), Math.Min(50, scores.Length)), SelectMass.Count(Keys(scores), share, scale, 7, 50));
            }
        }
    }

    [Fact]
    public void The_order_of_the_scores_does_not_matter()
    {
        var random = new Random(9);
        var scores = Enumerable.Range(0, 300).Select(_ => random.NextSingle()).ToArray();
        var count = SelectMass.Count(Keys(scores), 0.7, 3, 1, 300);
        random.Shuffle(scores);
        Assert.Equal(count, SelectMass.Count(Keys(scores), 0.7, 3, 1, 300));
    }

    [Theory]
    [InlineData(0.5, 50)]
    [InlineData(0.505, 51)]
    [InlineData(0.999, 100)]
    [InlineData(1e-12, 1)]
    public void Constant_scores_are_counted_one_by_one(double share, int expected) =>
        Assert.Equal(expected, SelectMass.Count(Keys([.. Enumerable.Repeat(-3.5f, 100)]), share, 2, 1, 1000));

    [Fact]
    public void One_token() => Assert.Equal(1, SelectMass.Count(Keys([5]), 0.01, 1, 1, 10));

    [Fact]
    public void Bounds_beyond_the_candidates_are_all_of_them()
    {
        Assert.Equal(3, SelectMass.Count(Keys([1, 2, 3]), 0.5, 1, 8, 20));
        Assert.Equal(2, SelectMass.Count(Keys([1, 2, 3]), 0.999, 1, 1, 2));
    }

    [Fact]
    public void Infinities_take_all_and_what_is_not_a_number_nothing()
    {
        Assert.Equal(2, SelectMass.Count(Keys([float.NaN, 1, float.PositiveInfinity, float.PositiveInfinity, float.NegativeInfinity]), 0.999, 1, 1, 5));
        Assert.Equal(1, SelectMass.Count(Keys([float.NaN, 7, float.NaN]), 0.999, 1, 1, 3));
        Assert.Equal(1, SelectMass.Count(Keys([float.NaN, float.NaN]), 0.5, 1, 1, 2));
    }

    [Theory]
    [InlineData(0f)]
    [InlineData(-1.5f)]
    [InlineData(3e38f)]
    [InlineData(float.NegativeInfinity)]
    [InlineData(float.NaN)]
    public void A_key_gives_its_score_back(float score) => Assert.Equal(score, ScoreSelect.ScoreOf(ScoreSelect.OrderedKey(score)));

    private static uint[] Keys(float[] scores) => [.. scores.Select(ScoreSelect.OrderedKey)];
}
