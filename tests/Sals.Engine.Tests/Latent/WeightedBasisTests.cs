using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Tests.Models;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Latent;

public class WeightedBasisTests
{
    private const int Seed = 12;
    private const int Rank = 16;
    private const int ScoreRank = 4;

    private static readonly ModelConfig Config = TinyModel.Config(256);
    private static readonly int Width = Config.KeyWidth;

    /// <summary>Keys and queries whose large directions are not the same.</summary>
    private readonly float[][] _keys;
    private readonly float[][] _queries;
    private readonly CovarianceSet _set = new(1, Width);
    private readonly QueryMoments _moments = new(Config);
    private readonly RopeTable _rope = new(Config.Rope, Config.HeadSize, 256);

    public WeightedBasisTests()
    {
        var random = new Random(Seed);
        var mix = Enumerable.Range(0, Width).Select(_ => Enumerable.Range(0, Width).Select(_ => random.NextDouble() - 0.5).ToArray()).ToArray();
        _keys = [.. Enumerable.Range(0, 600).Select(_ =>
        {
            var source = Enumerable.Range(0, Width).Select(i => Math.Pow(0.9, i) * Normal(random)).ToArray();
            return mix.Select(row => 0.5f + (float)row.Zip(source, (a, b) => a * b).Sum()).ToArray();
        })];
        _queries = [.. Enumerable.Range(0, 300).Select(_ => Enumerable.Range(0, Config.QueryWidth).Select(i => (float)(Normal(random) * (i % Config.HeadSize % 4 == 0 ? 2 : 0.1))).ToArray())];
        foreach (var key in _keys)
        {
            _set.Add(0, key);
        }

        foreach (var query in _queries)
        {
            _moments.Add(0, query);
        }
    }

    [Fact]
    public void Projection_undoes_reconstruction_and_coordinates_have_mean_square_1()
    {
        var basis = Basis(Rank);
        for (var i = 0; i < Rank; i++)
        {
            for (var j = 0; j < Rank; j++)
            {
                var product = Enumerable.Range(0, Width).Sum(d => (double)basis.Projection[(i * Width) + d] * basis.Vectors[(j * Width) + d]);
                Assert.Equal(i == j ? 1 : 0, product, 1e-3);
            }
        }

        var latents = _keys.Select(key => Latent(basis, key)).ToArray();
        for (var i = 0; i < Rank; i++)
        {
            Assert.Equal(0, latents.Average(latent => latent[i]), 1e-3);
            Assert.Equal(1, latents.Average(latent => latent[i] * latent[i]), 1e-2);
        }
    }

    [Fact]
    public void All_coordinates_reconstruct_every_key()
    {
        var basis = Basis(Width);
        Assert.All(_keys[..20], key => Assert.All(Back(basis, Latent(basis, key)).Zip(key), pair => Assert.Equal(pair.Second, pair.First, 2e-2)));
    }

    [Fact]
    public void Queries_see_smaller_errors_than_with_the_largest_directions()
    {
        Assert.True(SeenError(Basis(Rank)) < 0.8 * SeenError(Plain(Rank)));
    }

    [Fact]
    public void Leading_coordinates_carry_more_of_the_score_than_the_largest_directions_do()
    {
        Assert.True(ScoreError(Basis(Rank)) < 0.8 * ScoreError(Plain(Rank)));
    }

    [Fact]
    public void A_group_s_basis_is_that_of_its_heads_alone()
    {
        var joint = WeightedBasis.Of(_set.Covariance(0, centred: true), _set.Mean(0), _moments, 0, Config, _rope, Rank, 256, groups: 2);
        int block = Width / 2, share = Rank / 2;
        for (var group = 0; group < 2; group++)
        {
            var half = Config with { KeyValueHeadCount = 1, HeadCount = 2 };
            var keys = new CovarianceSet(1, block);
            var queries = new QueryMoments(half);
            foreach (var key in _keys)
            {
                keys.Add(0, key.AsSpan(group * block, block));
            }

            foreach (var query in _queries)
            {
                queries.Add(0, query.AsSpan(group * half.QueryWidth, half.QueryWidth));
            }

            var alone = WeightedBasis.Of(keys.Covariance(0, centred: true), keys.Mean(0), queries, 0, half, _rope, share, 256);
            for (var n = 0; n < share; n++)
            {
                for (var d = 0; d < Width; d++)
                {
                    var at = (((group * share) + n) * Width) + d;
                    Assert.Equal(d / block == group ? alone.Vectors[(n * block) + (d % block)] : 0, joint.Vectors[at], 1e-4);
                    Assert.Equal(d / block == group ? alone.Projection[(n * block) + (d % block)] : 0, joint.Projection[at], 1e-4);
                }
            }
        }
    }

    [Fact]
    public void The_file_gives_back_the_basis_of_its_rank_and_refuses_others()
    {
        using var folder = new TemporaryFolder();
        using var weights = TinyModel.Build(Config);
        using var backend = new Sals.Engine.Backends.Cpu.CpuBackend(
            weights, new() { Slots = 1, MaxModelLength = 64, CacheBytes = 1, Spec = LatentSpec.Dense(Config.LayerCount), Threads = 2 });
        var random = new Random(Seed);
        var text = new CalibrationText([.. Enumerable.Range(0, 3).Select(_ => Enumerable.Range(0, 60).Select(_ => random.Next(Config.VocabularySize)).ToArray())], "data");
        new Calibrator(backend, Config, "model", text, Width, folder["state"]) { WeightedRanks = [16] }.Run(folder["basis"], TimeProvider.System, CancellationToken.None);
        LatentSpec Spec(int rank) => LatentSpecParser.Parse("sals-25", ["basis=queries", $"rank={rank}"], Config);
        var read = LatentBasisFile.Read(folder["basis"], Spec(16), Config, "model");
        var layer = read.Layer(Spec(16).SparseLayers[0]);
        Assert.Equal(16, layer.Rank);
        Assert.NotSame(layer.Vectors, layer.Projection);
        Assert.NotEqual(read.Fingerprint, LatentBasisFile.Read(folder["basis"], Spec(16) with { Basis = BasisKind.Keys }, Config, "model").Fingerprint);
        new Calibrator(backend, Config, "model", text, Width, folder["state"], groups: 2) { WeightedRanks = [16] }.Run(folder["grouped"], TimeProvider.System, CancellationToken.None);
        var grouped = LatentBasisFile.Read(folder["grouped"], Spec(16) with { BasisGroups = 2, ScoreRank = 8 }, Config, "model").Layer(Spec(16).SparseLayers[0]);
        Assert.All(Enumerable.Range(0, 16 * Width), i => Assert.True(i / Width % 8 / 4 == i % Width / (Width / 2) || (grouped.Vectors[i] == 0 && grouped.Projection[i] == 0)));
        Assert.Contains("rank 32", Assert.Throws<LatentBasisException>(() => LatentBasisFile.Read(folder["basis"], Spec(32), Config, "model")).Message);
        Assert.Contains("centred", Assert.Throws<LatentSpecException>(() => LatentSpecParser.Parse("sals-25", ["basis=queries", "centred=false"], Config)).Message);
        Assert.Contains("keys or queries", Assert.Throws<LatentSpecException>(() => LatentSpecParser.Parse("sals-25", ["basis=all"], Config)).Message);
    }

    private LatentBasisLayer Basis(int rank) => WeightedBasis.Of(_set.Covariance(0, centred: true), _set.Mean(0), _moments, 0, Config, _rope, rank, 256);

    private LatentBasisLayer Plain(int rank)
    {
        var eigen = SymmetricEigen.Of(_set.Covariance(0, centred: true), Width);
        return new LatentBasisLayer(
            [.. eigen.Vectors.Take(rank * Width).Select(value => (float)value)], [.. _set.Mean(0).Select(value => (float)value)], [.. eigen.Values.Take(rank).Select(value => (float)value)], new float[rank]);
    }

    /// <summary>Mean square of q . (k - k^) over queries at random distances.</summary>
    private double SeenError(LatentBasisLayer basis)
    {
        var random = new Random(Seed);
        var total = 0.0;
        foreach (var query in _queries)
        {
            var key = _keys[random.Next(_keys.Length)];
            var error = Back(basis, Latent(basis, key)).Zip(key, (a, b) => a - b).ToArray();
            var rotated = (float[])query.Clone();
            var position = random.Next(256);
            Sals.Engine.Backends.Cpu.Reference.Rope.Run(rotated, _rope.Cos(position), _rope.Sin(position));
            for (var head = 0; head < Config.HeadCount; head++)
            {
                var logit = Enumerable.Range(0, Config.HeadSize).Sum(i => rotated[(head * Config.HeadSize) + i] * error[(head / Config.GroupSize * Config.HeadSize) + i]);
                total += logit * logit;
            }
        }

        return total;
    }

    /// <summary>Mean square of what the leading coordinates leave out of the summed logits.</summary>
    private double ScoreError(LatentBasisLayer basis)
    {
        var total = 0.0;
        var summed = new float[Width];
        var query = new float[ScoreRank];
        for (var i = 0; i < _queries.Length; i++)
        {
            ScoringQuery.SumGroups(_queries[i], Config.GroupSize, Config.HeadSize, summed);
            ScoringQuery.Project(summed, basis, query);
            var key = _keys[i];
            var exact = summed.Zip(key.Zip(basis.Mean, (a, b) => a - b), (a, b) => (double)a * b).Sum();
            total += Math.Pow(exact - query.Zip(Latent(basis, key), (a, b) => a * b).Sum(), 2);
        }

        return total;
    }

    private static double[] Latent(LatentBasisLayer basis, float[] key) =>
        [.. Enumerable.Range(0, basis.Rank).Select(i => Enumerable.Range(0, Width).Sum(d => (double)basis.Projection[(i * Width) + d] * (key[d] - basis.Mean[d])))];

    private static double[] Back(LatentBasisLayer basis, double[] latent) =>
        [.. Enumerable.Range(0, Width).Select(d => basis.Mean[d] + latent.Select((value, i) => value * basis.Vectors[(i * Width) + d]).Sum())];

    private static double Normal(Random random) => Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble());
}
