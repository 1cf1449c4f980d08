using System.Text.Json;
using Sals.Engine.Backends.Cpu;
using Sals.Engine.Evaluation.Analysis;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Tests.Models;
using Xunit;

namespace Sals.Engine.Tests.Evaluation;

public class AttentionAnalysisTests
{
    private static readonly double[] FastSpectrum = [.. Enumerable.Range(0, 64).Select(i => Math.Pow(0.8, i))];
    private static readonly double[] SlowSpectrum = [.. Enumerable.Range(0, 64).Select(i => Math.Pow(0.99, i))];

    [Fact]
    public void Figures_equal_those_that_numpy_computed_independently()
    {
        // tests/golden/make_analysis.py, float64
        var golden = JsonDocument.Parse(File.ReadAllBytes(Path.Combine(GoldenFolders.Root, "tests", "golden", "analysis.json"))).RootElement;
        using var folder = ModelFolder.Open(GoldenFolders.Micro(golden.GetProperty("model").GetString()!));
        var calibration = Tokens(golden.GetProperty("calibration"));
        var sequences = Tokens(golden.GetProperty("sequences"));
        var spec = LatentSpecParser.Parse("sals-25", [.. golden.GetProperty("settings").EnumerateArray().Select(setting => setting.GetString()!)], folder.Config);
        using var backend = new CpuBackend(
            folder.Weights, new CpuBackendOptions { Slots = 1, MaxModelLength = sequences[0].Length, CacheBytes = 1, Spec = LatentSpec.Dense(folder.Config.LayerCount), Threads = 2 });
        var analysis = new AttentionAnalysis(folder.Config, backend, spec, golden.GetProperty("rows").GetInt32())
            .Run("micro", "random", calibration, sequences, TestContext.Current.CancellationToken);
        Assert.Equal(Numbers(golden.GetProperty("sweep")), analysis.SweepRanks.Select(rank => (double)rank));
        foreach (var (found, expected) in analysis.Layers.Zip(golden.GetProperty("layers").EnumerateArray()))
        {
            Near(Numbers(expected.GetProperty("before")), found.SpectrumBeforeRope, 1e-5);
            Near(Numbers(expected.GetProperty("after")), found.SpectrumAfterRope, 1e-5);
            Assert.Equal(expected.GetProperty("mean").GetDouble(), found.MeanEnergy, 1e-5);
            Assert.Equal(expected.GetProperty("fixed").GetDouble(), found.FixedMass, 1e-5);
            Assert.Equal(expected.GetProperty("oracle").GetDouble(), found.OracleMass, 1e-5);
            // float32 scores may order a near tie the other way: a token in a few hundred
            Assert.Equal(expected.GetProperty("sum").GetDouble(), found.SumMass, 1e-4);
            Assert.Equal(expected.GetProperty("heads").GetDouble(), found.HeadMass, 1e-4);
            Assert.Equal(expected.GetProperty("overlap").GetDouble(), found.Overlap, 0.02);
            Near(Numbers(expected.GetProperty("sweep")), found.SweepMass, 1e-4);
        }

        Assert.All(analysis.Layers, layer => Assert.Equal(spec.DenseLayers.Contains(layer.Layer), layer.SuggestedRank == 0));
        Assert.Equal(spec.Rank * spec.SparseLayers.Length, analysis.Layers.Sum(layer => layer.SuggestedRank));
        Assert.Equal(analysis.LayerRanks.Split('=')[1].Split(',').Length, spec.SparseLayers.Length);

        var html = AnalysisReport.Html(analysis);
        Assert.Equal(4, html.Split("<svg").Length - 1);
        Assert.DoesNotContain("NaN", html);
    }

    [Fact]
    public void Ranks_go_where_the_energy_is_and_keep_the_budget()
    {
        Assert.Equal([16, 48], AttentionAnalysis.SuggestedRanks([FastSpectrum, SlowSpectrum], 32));
        Assert.Equal([32, 32], AttentionAnalysis.SuggestedRanks([SlowSpectrum, SlowSpectrum], 32));
        Assert.Equal([64, 64], AttentionAnalysis.SuggestedRanks([FastSpectrum, SlowSpectrum], 64));
    }

    private static void Near(double[] expected, double[] found, double tolerance)
    {
        Assert.Equal(expected.Length, found.Length);
        Assert.All(expected.Zip(found), pair => Assert.Equal(pair.First, pair.Second, tolerance * Math.Max(1, expected[0])));
    }

    private static int[][] Tokens(JsonElement sequences) => [.. sequences.EnumerateArray().Select(sequence => sequence.EnumerateArray().Select(token => token.GetInt32()).ToArray())];

    private static double[] Numbers(JsonElement values) => [.. values.EnumerateArray().Select(value => value.GetDouble())];
}
