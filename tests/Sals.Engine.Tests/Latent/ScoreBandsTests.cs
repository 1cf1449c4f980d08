using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Latent;

public class ScoreBandsTests
{
    private const int HeadSize = 32;
    private const int Width = 2 * HeadSize;

    [Fact]
    public void Four_bands_of_each_width_cover_every_page_once()
    {
        var bands = Enumerable.Range(0, 4 * (1 + 2 + 4 + 8)).Select(ScoreBands.Of).ToArray();
        Assert.Equal(Enumerable.Range(0, 16).SelectMany(band => Enumerable.Repeat(band, 1 << (band / 4))), bands);
        Assert.Equal([0, 1, 4, 5, 5, 6], new[] { 0, 1, 4, 5, 6, 7 }.Select(ScoreBands.Count));
        foreach (var pages in Enumerable.Range(1, 70))
        {
            var counts = Enumerable.Range(0, pages).CountBy(ScoreBands.Of).OrderBy(band => band.Key).Select(band => band.Value);
            Assert.Equal(counts, Enumerable.Range(0, ScoreBands.Count(pages)).Select(band => ScoreBands.PagesOf(band, pages)));
        }
    }

    [Theory]
    [InlineData(3, 0)] // one page
    [InlineData(9, 5)] // two pages
    [InlineData(9, 6)] // cut: the band would begin before token 0
    [InlineData(40, 9)] // four pages
    public void A_band_has_the_mean_of_the_queries_that_rope_gives_its_tokens(int pages, int band)
    {
        var random = new Random(band);
        var rope = new RopeTable(new RopeSettings { Theta = 500 }, HeadSize, 64 * (pages + 2));
        var basis = RandomBasis.Create(random, Width, 16, centred: true);
        var summed = Enumerable.Range(0, Width).Select(_ => random.NextSingle() - 0.5f).ToArray();
        var position = (64 * pages) + 70;
        var query = new float[8];
        var bias = new ScoreBands(rope, pages).Query(band, pages, position, summed, basis, new float[Width], query);

        var own = Enumerable.Range(0, pages).Where(page => ScoreBands.Of(pages - 1 - page) == band).ToArray();
        var tokens = Enumerable.Range(64 * own[0], 64 << (band / 4)).ToArray(); // a cut band averages as many tokens from its first one on
        var mean = new double[Width];
        foreach (var token in tokens)
        {
            var turned = (float[])summed.Clone();
            Rope.Run(turned, rope.Cos(position - token), rope.Sin(position - token));
            for (var i = 0; i < Width; i++)
            {
                mean[i] += turned[i] / (double)tokens.Length;
            }
        }

        Close.To([.. Enumerable.Range(0, 8).Select(i => (float)Enumerable.Range(0, Width).Sum(d => basis.Vector(i)[d] * mean[d]))], query, 1e-5);
        Assert.Equal(Enumerable.Range(0, Width).Sum(d => basis.Mean[d] * mean[d]), bias, 1e-5);
    }

    [Fact]
    public void Scores_of_codes_are_in_the_units_of_their_band()
    {
        var random = new Random(2);
        var basis = RandomBasis.Create(random, Width, 16, centred: true);
        var latent = Enumerable.Range(0, 16).Select(_ => (byte)(sbyte)random.Next(-127, 128)).ToArray();
        foreach (var size in new[] { 1, 100 })
        {
            var query = Enumerable.Range(0, 16).Select(_ => size * (random.NextSingle() - 0.5f)).ToArray();
            var codes = new int[16];
            var unit = ScoreSelect.QuantiseQuery(query, basis, codes);
            Assert.Equal(ScoreSelect.QueryRange, codes.Max(Math.Abs));
            Assert.All(Enumerable.Range(0, 16), i => Assert.Equal(query[i] * basis.Scale[i] / unit, codes[i], 0.51));
            var keys = new uint[1];
            ScoreSelect.Score(query, codes, latent, LatentFormat.Int8, basis, keys, (unit, -3.6f));
            Assert.Equal(ScoreSelect.OrderedKey((Enumerable.Range(0, 16).Sum(i => codes[i] * (sbyte)latent[i]) * unit) - 3.6f), keys[0]);
        }

        Assert.Equal(0, ScoreSelect.QuantiseQuery(new float[16], basis, new int[16]));
    }
}
