using System.Runtime.InteropServices;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Latent;
using Sals.Engine.Tests.Latent;
using Xunit;

namespace Sals.Engine.Tests.Backends.Reference;

public class ScoreSelectTests(ITestOutputHelper output)
{
    [Theory]
    [InlineData("random")]
    [InlineData("constant")]
    [InlineData("two-valued")]
    [InlineData("ties")]
    [InlineData("nan")]
    [InlineData("all-nan")]
    [InlineData("infinite")]
    [InlineData("signed-zero")]
    [InlineData("close")]
    public void Selection_equals_a_plain_sort(string kind)
    {
        var seed = Random.Shared.Next();
        output.WriteLine($"seed {seed}");
        var random = new Random(seed);
        foreach (var n in new[] { 1, 2, 7, 64, 431, 432, 433, 3000 })
        {
            float[] scores = [.. Enumerable.Range(0, n).Select(_ => kind switch
            {
                "constant" => 1.25f,
                "two-valued" => random.Next(2) == 0 ? -3f : 0.5f,
                "ties" => random.Next(5) - 2f,
                "nan" => random.Next(3) == 0 ? float.NaN : random.NextSingle() - 0.5f,
                "all-nan" => float.NaN,
                "infinite" => random.Next(4) switch { 0 => float.PositiveInfinity, 1 => float.NegativeInfinity, 2 => float.NaN, _ => random.NextSingle() },
                "signed-zero" => random.Next(2) == 0 ? -0f : 0f,
                "close" => BitConverter.Int32BitsToSingle(0x3F800000 + random.Next(300)),
                _ => random.NextSingle() * 20 - 10,
            })];
            uint[] keys = [.. scores.Select(ScoreSelect.OrderedKey)];
            foreach (var k in new[] { 0, 1, n / 8, n / 2, n - 1, n }.Where(k => k >= 0 && k <= n).Distinct())
            {
                var selected = new int[k];
                ScoreSelect.Select(keys, 16, selected);
                var expected = Enumerable.Range(0, n)
                    .OrderByDescending(i => float.IsNaN(scores[i]) ? double.NegativeInfinity : scores[i])
                    .ThenBy(i => float.IsNaN(scores[i])) // after a score of -infinity
                    .ThenBy(i => i)
                    .Take(k).Order().Select(i => i + 16);
                Assert.Equal(expected, selected);
            }
        }
    }

    [Fact]
    public void Integer_scores_keep_their_order()
    {
        int[] scores = [int.MinValue, -5, -1, 0, 1, 7, int.MaxValue];
        uint[] keys = [.. scores.Select(ScoreSelect.OrderedKey)];
        Assert.Equal(keys.Order(), keys);
        Assert.Equal(keys.Distinct(), keys);
    }

    [Theory]
    [InlineData(LatentFormat.Float32, 1e-5)]
    [InlineData(LatentFormat.BFloat16, 5e-3)]
    public void Scores_equal_double_dot_products(LatentFormat format, double tolerance)
    {
        var random = new Random(11);
        const int rank = 48, n = 64;
        var basis = RandomBasis.Create(random, 64, rank, centred: false);
        float[] query = [.. Enumerable.Range(0, rank).Select(_ => random.NextSingle() - 0.5f)];
        float[] latents = [.. Enumerable.Range(0, n * rank).Select(_ => random.NextSingle() - 0.5f)];
        var plane = new byte[n * rank * format.Bits() / 8];
        for (var t = 0; t < n; t++)
        {
            LatentCodec.Store(latents.AsSpan(t * rank, rank), format, basis, 0, plane.AsSpan(t * rank * format.Bits() / 8, rank * format.Bits() / 8));
        }

        var keys = new uint[n];
        ScoreSelect.Score(query, [], plane, format, basis, keys);
        for (var t = 0; t < n; t++)
        {
            var expected = Enumerable.Range(0, rank).Sum(i => (double)query[i] * latents[t * rank + i]);
            Assert.InRange(ScoreOf(keys[t]), expected - tolerance, expected + tolerance);
        }
    }

    [Fact]
    public void Int8_scores_are_exact_integers()
    {
        var random = new Random(12);
        const int rank = 32, n = 64;
        var basis = RandomBasis.Create(random, 64, rank, centred: true);
        float[] query = [.. Enumerable.Range(0, rank).Select(_ => random.NextSingle() - 0.5f)];
        sbyte[] codes = [.. Enumerable.Range(0, n * rank).Select(_ => (sbyte)random.Next(-127, 128))];
        var wide = new int[rank];
        ScoreSelect.QuantiseQuery(query, basis, wide);
        Assert.Equal(ScoreSelect.QueryRange, wide.Max(Math.Abs));
        var keys = new uint[n];
        ScoreSelect.Score(query, wide, MemoryMarshal.AsBytes(codes.AsSpan()), LatentFormat.Int8, basis, keys);
        for (var t = 0; t < n; t++)
        {
            var exact = Enumerable.Range(0, rank).Sum(i => (long)wide[i] * codes[t * rank + i]);
            Assert.Equal(exact, (int)(keys[t] ^ 0x8000_0000));

            // the integer score is the real one in units of the query's step
            var real = Enumerable.Range(0, rank).Sum(i => (double)query[i] * basis.Scale[i] * codes[t * rank + i]);
            var step = Enumerable.Range(0, rank).Max(i => Math.Abs(query[i] * basis.Scale[i])) / ScoreSelect.QueryRange;
            Assert.InRange(exact * step - real, -0.5 * step * rank * 127, 0.5 * step * rank * 127);
        }
    }

    [Theory]
    [InlineData(0f)]
    [InlineData(float.NaN)]
    [InlineData(float.PositiveInfinity)]
    public void A_degenerate_query_scores_everything_0(float value)
    {
        var basis = RandomBasis.Create(new Random(1), 32, 16, centred: true);
        var codes = Enumerable.Repeat(9, 16).ToArray();
        ScoreSelect.QuantiseQuery([.. Enumerable.Repeat(value, 16)], basis, codes);
        Assert.All(codes, c => Assert.Equal(0, c));
    }

    private static float ScoreOf(uint key) => BitConverter.UInt32BitsToSingle((key & 0x8000_0000) != 0 ? key & 0x7FFF_FFFF : ~key);
}
