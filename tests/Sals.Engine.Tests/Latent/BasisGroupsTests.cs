using Sals.Engine.Backends.Cpu;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Tests.Models;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Latent;

/// <summary>basis_groups: KV heads in groups with a basis of their own.</summary>
public class BasisGroupsTests
{
    // four KV heads of 16 channels
    private static readonly ModelConfig Config = TinyModel.Config(256) with { LayerCount = 4, KeyValueHeadCount = 4, QueryKeyValueBias = true };
    private static readonly int Width = Config.KeyWidth;

    [Theory]
    [InlineData(64, 32, 1)]
    [InlineData(64, 32, 4)]
    [InlineData(64, 64, 2)]
    [InlineData(48, 16, 2)]
    [InlineData(96, 24, 3)]
    public void Coordinates_of_the_groups_fill_both_planes_in_slices(int rank, int scoreRank, int groups)
    {
        var spec = Spec(rank, scoreRank, groups);
        int share = rank / groups, scored = scoreRank / groups;
        Assert.Equal(Enumerable.Range(0, rank), Enumerable.Range(0, groups).SelectMany(g => Enumerable.Range(0, share).Select(n => spec.Coordinate(g, n))).Order());
        for (var group = 0; group < groups; group++)
        {
            var from = group;
            Assert.Equal(Enumerable.Range(group * scored, scored), Enumerable.Range(0, scored).Select(n => spec.Coordinate(from, n)));
            Assert.Equal(Enumerable.Range(scoreRank + (group * (share - scored)), share - scored), Enumerable.Range(scored, share - scored).Select(n => spec.Coordinate(from, n)));
        }
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public void Calibrated_vectors_are_the_leading_ones_of_each_group_s_own_covariance(bool centred)
    {
        const int groups = 2;
        using var folder = new TemporaryFolder();
        using var weights = TinyModel.Build(Config);
        using var backend = Backend(weights);
        var text = Text();
        Calibrate(backend, text, folder, groups);
        var keys = new CovarianceSet(Config.LayerCount, Width);
        foreach (var sequence in text.Sequences)
        {
            backend.AccumulateKeyCovariance(sequence, keys);
        }

        int block = Width / groups;
        var spec = Spec(24, 8, groups) with { Centred = centred };
        var basis = LatentBasisFile.Read(folder["basis"], spec, Config, "model");
        foreach (var index in spec.SparseLayers)
        {
            var layer = basis.Layer(index);
            double[] joint = keys.Covariance(index, centred), mean = keys.Mean(index);
            Orthonormal(layer);
            for (var group = 0; group < groups; group++)
            {
                var own = new double[block * block];
                for (var i = 0; i < own.Length; i++)
                {
                    own[i] = joint[(((group * block) + (i / block)) * Width) + (group * block) + (i % block)];
                }

                var expected = SymmetricEigen.Of(own, block);
                for (var n = 0; n < spec.GroupRank; n++)
                {
                    var at = spec.Coordinate(group, n);
                    var vector = layer.Vector(at);
                    for (var d = 0; d < Width; d++)
                    {
                        Assert.Equal(d / block == group ? expected.Vector(n)[d % block] : 0, vector[d], 1e-5);
                    }

                    Assert.Equal(expected.Values[n], layer.Eigenvalues[at], 1e-5 * expected.Values[0]);
                    var remaining = centred ? 0 : Enumerable.Range(0, block).Sum(d => expected.Vector(n)[d] * mean[(group * block) + d]);
                    Assert.Equal(remaining, layer.LatentMean[at], 1e-5);
                }
            }
        }
    }

    [Fact]
    public void Other_groups_than_the_file_s_are_refused_and_named()
    {
        using var folder = new TemporaryFolder();
        using var weights = TinyModel.Build(Config);
        using var backend = Backend(weights);
        Calibrate(backend, Text(), folder, 2);
        var (origin, layers) = LatentBasisFile.ReadAll(folder["basis"]);
        Assert.Equal(2, origin.Groups);
        Assert.Equal(Config.LayerCount, layers.Count);
        var message = Assert.Throws<LatentBasisException>(() => LatentBasisFile.Read(folder["basis"], Spec(16, 8, 4), Config, "model")).Message;
        Assert.Contains("holds bases of 2 group(s) of KV heads, the settings ask for basis_groups=4", message, StringComparison.Ordinal);
        Assert.Contains("--basis-groups 4", message, StringComparison.Ordinal);
        Assert.Contains("basis_groups=1", Assert.Throws<LatentBasisException>(() => LatentBasisFile.Read(folder["basis"], Spec(16, 8, 1), Config, "model")).Message, StringComparison.Ordinal);

        var hidden = File.ReadAllBytes(folder["basis"]);
        File.WriteAllBytes(folder["broken"], Replaced(hidden, "\"basis_groups\":\"2\"", "\"basis_groups\":\"5\""));
        Assert.Contains("expected basis_groups that divide rank", Assert.Throws<LatentBasisException>(() => LatentBasisFile.ReadAll(folder["broken"])).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void State_of_other_groups_is_not_continued()
    {
        using var folder = new TemporaryFolder();
        using var weights = TinyModel.Build(Config);
        using var backend = Backend(weights);
        using var stop = new CancellationTokenSource();
        var layersDone = 0;
        Assert.Throws<OperationCanceledException>(() => new Calibrator(backend, Config, "model", Text(), Width, folder["state"])
        {
            Progress = progress =>
            {
                if (progress.Stage == "eigenvectors" && ++layersDone == 2)
                {
                    stop.Cancel();
                }
            },
        }.Run(folder["basis"], TimeProvider.System, stop.Token));
        Calibrate(backend, Text(), folder, 4);
        var resumed = File.ReadAllBytes(folder["basis"]);
        Calibrate(backend, Text(), folder, 4);
        Assert.Equal(File.ReadAllBytes(folder["basis"]), resumed);
    }

    /// <summary>Nothing is lost with all of each group's coordinates, every token selected and fp16 values.</summary>
    [Theory]
    [InlineData(4, 2)]
    [InlineData(4, 4)]
    [InlineData(2, 2)]
    public void All_coordinates_of_every_group_equal_dense(int keyHeads, int groups)
    {
        const int first = 70;
        var config = TinyModel.Config(512) with { KeyValueHeadCount = keyHeads };
        using var weights = TinyModel.Build(config);
        var random = new Random(17);
        int[] tokens = [.. Enumerable.Range(0, 270).Select(_ => random.Next(config.VocabularySize))];
        var dense = Run(LatentSpec.Dense(config.LayerCount));
        var spec = LatentSpecParser.Parse("sals-25", ["latent_format=float32", "rank_ratio=1", $"basis_groups={groups}", "value_bits=16", "critical=1000", "dense_below=0"], config);
        Assert.Equal((config.KeyWidth, groups), (spec.Rank, spec.BasisGroups));
        var sparse = Run(spec);
        for (var i = 0; i < dense.Length; i++)
        {
            // fp16 values: 2^-11 of a value, through a few layers
            Close.To(dense[i], sparse[i], 2e-2, what: $"row {i}");
        }

        float[][] Run(LatentSpec cache)
        {
            using var backend = new CpuBackend(weights, new CpuBackendOptions
            {
                MaxModelLength = 512,
                CacheBytes = 1L << 28,
                Slots = 1,
                Spec = cache,
                Basis = cache.IsDense ? null : RandomLatentBasis.Of(cache, config),
                Threads = 2,
            });
            var probe = new LogitProbe();
            backend.Probe = probe;
            var plans = new Plans(backend);
            plans.Start(0, tokens[..first]).Prefill(0, tokens[..first]).Step();
            foreach (var token in tokens[first..])
            {
                plans.Decode(0, token).Step();
            }

            return [.. Enumerable.Range(first, tokens.Length - first).Select(t => probe.Logits(0, t))];
        }
    }

    [Theory]
    [InlineData(4, 32, 2)]
    [InlineData(6, 32, 3)]
    [InlineData(6, 48, 3)]
    public void Random_vectors_are_orthonormal_and_stay_in_their_group(int heads, int headSize, int groups)
    {
        var model = TinyModel.Config() with { LayerCount = 3, KeyValueHeadCount = heads, HeadCount = heads, HeadSize = headSize };
        var spec = LatentSpecParser.Parse("sals-25", ["rank_ratio=0.5", $"basis_groups={groups}", "dense_layers=none"], model);
        var basis = RandomLatentBasis.Of(spec, model);
        var block = model.KeyWidth / groups;
        foreach (var index in spec.SparseLayers)
        {
            Orthonormal(basis.Layer(index));
            for (var group = 0; group < groups; group++)
            {
                for (var n = 0; n < spec.GroupRank; n++)
                {
                    var vector = basis.Layer(index).Vector(spec.Coordinate(group, n));
                    for (var d = 0; d < vector.Length; d++)
                    {
                        Assert.True(d / block == group || vector[d] == 0, $"group {group}, coordinate {n}, channel {d}");
                    }
                }
            }
        }
    }

    private static void Orthonormal(LatentBasisLayer layer)
    {
        for (var a = 0; a < layer.Rank; a++)
        {
            for (var b = 0; b <= a; b++)
            {
                double dot = 0;
                for (var d = 0; d < layer.Width; d++)
                {
                    dot += (double)layer.Vector(a)[d] * layer.Vector(b)[d];
                }

                Assert.Equal(a == b ? 1 : 0, dot, 1e-5);
            }
        }
    }

    private static void Calibrate(CpuBackend backend, CalibrationText text, TemporaryFolder folder, int groups) =>
        new Calibrator(backend, Config, "model", text, Width, folder["state"], groups).Run(folder["basis"], TimeProvider.System, CancellationToken.None);

    private static LatentSpec Spec(int rank, int scoreRank, int groups) => new()
    {
        Name = "test",
        LayerCount = Config.LayerCount,
        DenseLayers = [0],
        Rank = rank,
        ScoreRank = scoreRank,
        BasisGroups = groups,
    };

    private static CalibrationText Text()
    {
        var random = new Random(11);
        return new([.. Enumerable.Range(0, 4).Select(_ => Enumerable.Range(0, 90).Select(_ => random.Next(Config.VocabularySize)).ToArray())], "text");
    }

    private static CpuBackend Backend(ModelWeights weights) => new(weights, new CpuBackendOptions
    {
        MaxModelLength = 256,
        CacheBytes = 1 << 20,
        Slots = 1,
        Spec = LatentSpec.Dense(weights.Config.LayerCount),
        Threads = 2,
    });

    private static byte[] Replaced(byte[] file, string from, string to)
    {
        var at = file.AsSpan().IndexOf(System.Text.Encoding.UTF8.GetBytes(from));
        Assert.True(at >= 0);
        byte[] changed = [.. file];
        System.Text.Encoding.UTF8.GetBytes(to).CopyTo(changed, at);
        return changed;
    }
}
