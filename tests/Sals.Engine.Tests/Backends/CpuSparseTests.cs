using Sals.Engine.Backends.Cpu;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Tests.Latent;
using Sals.Engine.Tests.Models;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Backends;

/// <summary>The compressed cache in whole steps of the CPU backend.</summary>
public class CpuSparseTests
{
    public static TheoryData<string> Checkpoints() =>
        [.. from kind in new[] { "micro", "micro-gpu" }
            from folder in Directory.GetDirectories(Path.Combine(GoldenFolders.Root, "tests", "golden", kind)).Order(StringComparer.Ordinal)
            select Path.GetRelativePath(GoldenFolders.Root, folder)];

    /// <summary>Nothing is lost with r = D, every token selected and fp16 values: MHA, GQA, biases, query norms, scaled rope.</summary>
    [Theory]
    [MemberData(nameof(Checkpoints))]
    public void Identity_settings_equal_dense(string name)
    {
        using var model = ModelFolder.Open(Path.Combine(GoldenFolders.Root, name));
        var config = model.Weights.Config;
        var random = new Random(17);
        int[] tokens = [.. Enumerable.Range(0, 270).Select(_ => random.Next(config.VocabularySize))];
        var dense = Run(model.Weights, LatentSpec.Dense(config.LayerCount), tokens);
        foreach (var setting in new[] { "centred=false", "centred=true" })
        {
            var spec = LatentSpecParser.Parse("sals-25", ["latent_format=float32", "rank_ratio=1", "value_bits=16", "critical=1000", "dense_below=0", setting], config);
            var sparse = Run(model.Weights, spec, tokens);
            for (var i = 0; i < dense.Length; i++)
            {
                // fp16 values: 2^-11 of a value, through a few layers
                Close.To(dense[i], sparse[i], 2e-2, what: $"{name}, {setting}, row {i}");
            }
        }
    }

    [Theory]
    [InlineData(false, false, "none", "sum")]
    [InlineData(true, false, "none", "sum")]
    [InlineData(false, true, "none", "sum")]
    [InlineData(true, true, "none", "sum")]
    [InlineData(false, false, "bands", "sum")]
    [InlineData(true, true, "bands", "sum")]
    [InlineData(true, false, "none", "zscore")]
    [InlineData(false, true, "bands", "zscore")]
    public void Selection_follows_the_scores_of_an_independent_forward(bool bias, bool norm, string rope, string heads)
    {
        // one compressed layer with everything else dense: its inputs are those of the dense forward
        var config = Config() with { QueryKeyValueBias = bias, QueryKeyNorm = norm };
        using var weights = TinyModel.Build(config);
        var spec = LatentSpecParser.Parse("sals-25", ["latent_format=float32", "dense_layers=0,2,3,4", "rank=32", "score_rank=8", "critical=20", "dense_below=0", $"score_rope={rope}", $"score_heads={heads}"], config);
        var random = new Random(5);
        int[] tokens = [.. Enumerable.Range(0, 300).Select(_ => random.Next(config.VocabularySize))];
        var probe = new LogitProbe();
        using var backend = Backend(weights, spec, out var basis);
        backend.Probe = probe;
        var plans = new Plans(backend);
        plans.Start(0, tokens).Prefill(0, tokens).Step();
        var result = plans.Decode(0, 7).Step();
        Assert.Equal((1, 1), (result.SparseLayers[0], result.ScoredLayers[0]));
        var selected = System.Runtime.InteropServices.MemoryMarshal.Cast<float, int>(probe.Values("L01.selected", 0, 300)).ToArray();

        // the layer's queries and keys before rope, in double precision, from the hidden states that a dense backend published
        using var oracle = Backend(weights, LatentSpec.Dense(5), out _);
        var hidden = new LogitProbe();
        oracle.Probe = hidden;
        var replay = new Plans(oracle);
        replay.Start(0, tokens[..1]).Prefill(0, tokens[..1]).Step();
        foreach (var token in tokens[1..].Append(7))
        {
            replay.Decode(0, token).Step();
        }

        var layer = weights.Layers[1];
        var query = Heads(layer.Query, layer.QueryBias, layer.QueryNorm, hidden.Values("L00.hidden", 0, 300));
        var scores = new double[192];
        var table = new RopeTable(config.Rope, config.HeadSize, 301);
        double[][] keys = [.. Enumerable.Range(0, 192).Select(t => Heads(layer.Key, layer.KeyBias, layer.KeyNorm, hidden.Values("L00.hidden", 0, t)))];
        if (heads == "sum")
        {
            scores = Scores(GroupSum(query), out _, out _);
        }
        else
        {
            for (var head = 0; head < config.HeadCount; head++)
            {
                var own = Scores(GroupSum([.. query.Select((v, i) => i / config.HeadSize == head ? v : 0)]), out var mean, out var deviation);
                scores = [.. scores.Zip(own, (sum, score) => sum + Math.Exp((score - mean) / deviation))];
            }
        }

        int[] expected = [.. Enumerable.Range(16, 176).OrderByDescending(t => scores[t]).Take(20).Order()];
        Assert.Equal(expected, selected);

        // q . k in the 8 scored coordinates; three latent pages, with score_rope=bands a band each; the basis' latents have mean 0 and are not correlated
        double[] Scores(double[] summed, out double mean, out double deviation)
        {
            double[][] queries = [.. Enumerable.Range(0, 3).Select(page => rope == "none" ? summed : MeanOverPage(summed, page)).Select(q => Enumerable.Range(0, 8).Select(i => Dot(basis.Layer(1).Vector(i), q)).ToArray())];
            double[] means = [.. Enumerable.Range(0, 3).Select(page => rope == "none" ? 0 : Dot(basis.Layer(1).Mean, MeanOverPage(summed, page)))];
            var average = mean = means.Average();
            deviation = Math.Sqrt(queries.Zip(means, (q, m) => q.Select((v, i) => v * v * basis.Layer(1).Eigenvalues[i]).Sum() + ((m - average) * (m - average))).Average());
            return [.. keys.Select((key, t) => queries[t / 64].Select((v, i) => v * Dot(basis.Layer(1).Vector(i), [.. key.Zip(basis.Layer(1).Mean, (k, m) => k - m)])).Sum() + means[t / 64])];
        }

        static double Dot(ReadOnlySpan<float> vector, double[] other)
        {
            var sum = 0.0;
            for (var d = 0; d < other.Length; d++)
            {
                sum += vector[d] * other[d];
            }

            return sum;
        }

        double[] Heads(Tensor weight, Tensor? biases, Tensor? gamma, float[] x)
        {
            var mean = Math.Sqrt(x.Average(v => (double)v * v) + config.RmsNormEpsilon);
            var normed = x.Zip(Values(layer.InputNorm), (v, g) => v / mean * g).ToArray();
            var w = Values(weight);
            double[] y = [.. Enumerable.Range(0, weight.Rows).Select(n => Enumerable.Range(0, x.Length).Sum(h => w[n * x.Length + h] * normed[h]) + (biases is null ? 0 : Values(biases)[n]))];
            for (var head = 0; gamma is not null && head < y.Length; head += config.HeadSize)
            {
                var scale = Math.Sqrt(y.Skip(head).Take(config.HeadSize).Average(v => v * v) + config.RmsNormEpsilon);
                for (var i = 0; i < config.HeadSize; i++)
                {
                    y[head + i] = y[head + i] / scale * Values(gamma)[i];
                }
            }

            return y;
        }

        double[] MeanOverPage(double[] query, int page)
        {
            var sum = new double[config.KeyWidth];
            for (var t = 64 * page; t < 64 * (page + 1); t++)
            {
                var turned = Array.ConvertAll(query, v => (float)v);
                Rope.Run(turned, table.Cos(300 - t), table.Sin(300 - t));
                sum = [.. sum.Zip(turned, (total, v) => total + (v / 64.0))];
            }

            return sum;
        }

        double[] GroupSum(double[] q)
        {
            var sum = new double[config.KeyWidth];
            for (var i = 0; i < q.Length; i++)
            {
                sum[i / config.HeadSize / config.GroupSize * config.HeadSize + i % config.HeadSize] += q[i];
            }

            return sum;
        }
    }

    [Theory]
    [InlineData("sals-25", "latent_format=float32")]
    [InlineData("sals-12.5", "latent_format=bf16")]
    [InlineData("sals-25", "latent_format=int8")]
    [InlineData("sals-25", "value_bits=3")]
    [InlineData("sals-25", "latent_format=int4")]
    [InlineData("sals-12.5", "value_rotation=hadamard")]
    [InlineData("sals-25", "score_heads=zscore")]
    [InlineData("sals-25", "score_rope=bands score_heads=zscore latent_format=float32")]
    [InlineData("sals-25", "critical_mass=0.3 critical_min=5 critical_max=40")]
    [InlineData("sals-12.5", "critical_mass=0.6 score_heads=zscore latent_format=int4")]
    [InlineData("sals-25", "layer_ranks=16,32")]
    public void A_row_is_bit_equal_alone_and_in_a_batch(string preset, string setting)
    {
        var config = Config();
        using var weights = TinyModel.Build(config);
        var spec = LatentSpecParser.Parse(preset, ["dense_below=0", .. setting.Contains("critical", StringComparison.Ordinal) ? Array.Empty<string>() : ["critical=30"], .. setting.Split(' ')], config);
        int[][] prompts = [.. Enumerable.Range(0, 6).Select(i => Enumerable.Range(0, 100 + 60 * i).Select(t => (t * 31 + i * 7) % 300).ToArray())];
        var alone = prompts.Select(prompt =>
        {
            using var backend = Backend(weights, spec, out _, slots: 6);
            var plans = new Plans(backend);
            return plans.Generate(0, plans.Start(0, prompt).Prefill(0, prompt).Step().Tokens[0], 80);
        }).ToArray();

        using var batch = Backend(weights, spec, out _, slots: 6);
        var together = new Plans(batch);
        for (var i = 0; i < 6; i++)
        {
            together.Start(i, prompts[i]).Prefill(i, prompts[i]);
            Assert.Equal(alone[i][0], together.Step().Tokens[0]);
        }

        for (var step = 1; step < 80; step++)
        {
            for (var i = 0; i < 6; i++)
            {
                together.Decode((i * 5 + step) % 6); // the order of rows changes every step
            }

            var result = together.Step();
            for (var r = 0; r < 6; r++)
            {
                Assert.Equal(alone[result.Slots[r]][step], result.Tokens[r]);
            }
        }
    }

    [Fact]
    public void Prefill_and_flush_write_the_same_latent_page()
    {
        var config = Config();
        using var weights = TinyModel.Build(config);
        var spec = LatentSpecParser.Parse("sals-25", ["latent_format=float32", "dense_below=0", "dense_layers=1,2,3,4"], config); // layer 0: keys do not depend on attention
        int[] tokens = [.. Enumerable.Range(0, 128).Select(t => t * 7 % 300)];
        using var backend = Backend(weights, spec, out _);
        var plans = new Plans(backend);
        plans.Start(0, tokens).Prefill(0, tokens).Step(); // 128 tokens: page 0 is latent
        plans.Start(1, tokens[..100]).Prefill(1, tokens[..100]).Step();
        foreach (var token in tokens[100..])
        {
            plans.Decode(1, token).Step();
        }

        Assert.NotEqual(0, plans.PageOf(PoolKind.Latent, 1, 0));
        var bytes = new PageLayout(config, spec, ElementType.Float32).LatentLayerBytes; // what follows fills up to 4 KiB
        Assert.Equal(
            backend.CachePage(PoolKind.Latent, plans.PageOf(PoolKind.Latent, 0, 0))[..bytes].ToArray(),
            backend.CachePage(PoolKind.Latent, plans.PageOf(PoolKind.Latent, 1, 0))[..bytes].ToArray());
    }

    [Fact]
    public void Up_to_dense_below_the_answer_is_the_dense_one_bit_for_bit()
    {
        var config = Config();
        using var weights = TinyModel.Build(config);
        int[] tokens = [.. Enumerable.Range(0, 250).Select(t => t * 11 % 300)];
        var dense = Run(weights, LatentSpec.Dense(5), tokens);
        var sparse = Run(weights, LatentSpecParser.Parse("sals-12.5", ["dense_below=240"], config), tokens);
        for (var i = 0; i <= 239 - First; i++)
        {
            Assert.Equal(dense[i], sparse[i]);
        }

        Assert.NotEqual(dense[^1], sparse[^1]);
    }

    /// <summary>A layer of a lower rank is one of the highest whose last coordinates are 0.</summary>
    [Theory]
    [InlineData("float32")]
    [InlineData("int8")]
    public void A_rank_of_its_own_is_a_basis_cut_short(string format)
    {
        var config = Config();
        using var weights = TinyModel.Build(config);
        int[] tokens = [.. Enumerable.Range(0, 330).Select(t => t * 13 % 300)];
        string[] settings = ["dense_below=0", "critical=30", "dense_layers=0,4", "score_rank=16", $"latent_format={format}"];
        var (own, uniform) = (LatentSpecParser.Parse("sals-25", [.. settings, "layer_ranks=32,16,16"], config), LatentSpecParser.Parse("sals-25", [.. settings, "rank=32"], config));
        Assert.Equal([32, 16, 16], own.SparseLayers.Select(own.RankOf));
        var whole = RandomBasis.Create(uniform, config.KeyWidth, eigenvalue: 30);
        var cut = new LatentBasis([.. Enumerable.Range(0, 5).Select(layer => Cut(layer, own.RankOf, config.KeyWidth))], "cut");
        var padded = new LatentBasis([.. Enumerable.Range(0, 5).Select(layer => Cut(layer, _ => 32, config.KeyWidth))], "padded");
        var expected = Run(weights, uniform, tokens, padded);
        var found = Run(weights, own, tokens, cut);
        for (var i = 0; i < expected.Length; i++)
        {
            Close.To(expected[i], found[i], 1e-4, what: $"row {i}");
        }

        LatentBasisLayer? Cut(int layer, Func<int, int> rank, int width)
        {
            if (uniform.DenseLayers.Contains(layer))
            {
                return null;
            }

            var (all, keep, rows) = (whole.Layer(layer), own.RankOf(layer), rank(layer));
            return new LatentBasisLayer([.. all.Vectors.Take(keep * width), .. new float[(rows - keep) * width]], all.Mean, all.Eigenvalues[..rows], all.LatentMean[..rows]);
        }
    }

    [Fact]
    public void A_row_selects_as_many_tokens_as_its_scores_say()
    {
        var config = Config();
        using var weights = TinyModel.Build(config);
        var prompt = Enumerable.Range(0, 400).Select(t => t * 13 % 300).ToArray();
        foreach (var (mass, least, most) in new[] { (0.01, 1, 300), (0.5, 1, 300), (0.99, 1, 300), (0.01, 40, 300), (0.99, 1, 25), (0.5, 1000, 2000) })
        {
            var spec = LatentSpecParser.Parse("sals-25", [$"critical_mass={mass}", $"critical_min={least}", $"critical_max={most}", "dense_below=0"], config);
            using var backend = Backend(weights, spec, out _);
            var probe = new LogitProbe();
            backend.Probe = probe;
            var plans = new Plans(backend);
            plans.Start(0, prompt).Prefill(0, prompt).Step();
            var result = plans.Decode(0, 7).Step();
            int[] counts = [.. spec.SparseLayers.Select(layer => probe.Values($"L{layer:00}.selected", 0, 400).Length)];
            var candidates = CacheTimeline.CandidateCount(401, spec);
            Assert.Equal(counts.Sum(), result.SelectedTokens[0]);
            Assert.All(counts, count => Assert.InRange(count, Math.Min(least, candidates), Math.Min(most, candidates)));
            Assert.Equal(least < candidates ? counts.Length : 0, result.ScoredLayers[0]);
            Assert.Equal(counts.Length, result.SparseLayers[0]);
        }
    }

    [Fact]
    public void Compressing_without_a_basis_is_refused()
    {
        using var weights = TinyModel.Build(Config());
        var spec = LatentSpecParser.Parse("sals-25", [], Config());
        Assert.Contains("need a basis", Assert.Throws<ArgumentException>(() => new CpuBackend(weights, new CpuBackendOptions { MaxModelLength = 512, CacheBytes = 1 << 20, Spec = spec })).Message, StringComparison.Ordinal);
    }

    private const int First = 70;

    /// <summary>Logits of forced rows after a prefill of 70 tokens; row i has input i + 70 and length i + 71.</summary>
    private static float[][] Run(ModelWeights weights, LatentSpec spec, int[] tokens, LatentBasis? basis = null)
    {
        using var backend = Backend(weights, spec, out _, basis: basis);
        var probe = new LogitProbe();
        backend.Probe = probe;
        var plans = new Plans(backend);
        plans.Start(0, tokens[..First]).Prefill(0, tokens[..First]).Step();
        for (var t = First; t < tokens.Length; t++)
        {
            plans.Decode(0, tokens[t]).Step();
        }

        return [.. Enumerable.Range(First, tokens.Length - First).Select(t => probe.Logits(0, t))];
    }

    private static ModelConfig Config() => TinyModel.Config(1024) with { LayerCount = 5 };

    private static CpuBackend Backend(ModelWeights weights, LatentSpec spec, out LatentBasis made, int slots = 2, LatentBasis? basis = null)
    {
        var random = new Random(23);
        basis ??= new LatentBasis(
            [.. Enumerable.Range(0, spec.LayerCount).Select(l => spec.SparseLayers.Contains(l) ? RandomBasis.Create(random, weights.Config.KeyWidth, spec.RankOf(l), spec.Centred, 30) : null)],
            "test");
        made = basis;
        return new CpuBackend(weights, new CpuBackendOptions { MaxModelLength = 512, CacheBytes = 1L << 30, Slots = slots, Spec = spec, Basis = basis, Threads = 2 });
    }

    private static float[] Values(Tensor tensor)
    {
        var values = new float[tensor.ElementCount];
        tensor.Read(0, tensor.Rows, values);
        return values;
    }
}
