using Sals.Engine.Backends.Cuda;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Sampling;
using Sals.Engine.Scheduling;
using Sals.Engine.Tests.Latent;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Backends;

/// <summary>
/// Rows up to dense_below and rows beyond it, in steps of their own and in one: three forms of a step, of which the rows' lengths choose one. A row's bits are
/// the same in all of them.
/// </summary>
public class ExactRowsTests
{
    private const int Below = 300;
    private const int Count = 12;

    // far below, crossing in the steps, at the border on either side, compressed, and of several runs
    private static readonly int[] Lengths = [5, Below - 4, Below - 1, Below, Below + 1, 700, 257];

    private static readonly ModelConfig Config = TinyModel.Config(maxModelLength: 1200) with { LayerCount = 4, HiddenSize = 96, HeadSize = 64, IntermediateSize = 160 };

    [GpuTheory]
    [InlineData(false, "sals-25", "latent_format=bf16")]
    [InlineData(false, "sals-12.5", "dense_layers=none")]
    [InlineData(false, "sals-12.5", "dense_format=int8", "dense_layers=0")]
    [InlineData(false, "sals-25", "score_rope=bands")]
    [InlineData(true, "sals-25", "dense_layers=1")]
    public void Row_is_the_same_bits_beside_rows_of_either_kind_as_graphs_or_eager(bool queryNorm, string preset, params string[] settings)
    {
        var config = Config with { QueryKeyNorm = queryNorm };
        var spec = LatentSpecParser.Parse(preset, [$"dense_below={Below}", "critical=48", .. settings], config);
        float[][] alone;
        using (var backend = Backend(config, spec))
        {
            alone = [.. Enumerable.Range(0, Lengths.Length).Select(i => Run(backend, [i])[0])];
            Equal(alone, Run(backend, [.. Enumerable.Range(0, Lengths.Length)]));

            // and the other way round: rows of a step in another order
            Equal([.. alone.Reverse()], Run(backend, [.. Enumerable.Range(0, Lengths.Length).Reverse()]));
        }

        using var eager = Backend(config, spec, graphs: false);
        Equal(alone, Run(eager, [.. Enumerable.Range(0, Lengths.Length)]));
        Equal(alone, [.. Enumerable.Range(0, Lengths.Length).Select(i => Run(eager, [i])[0])]);
    }

    [GpuFact]
    public void Up_to_dense_below_the_bits_are_those_of_a_dense_cache()
    {
        int[] exact = [0, 1, 2, 6];
        using var dense = Backend(Config, LatentSpec.Dense(Config.LayerCount));
        using var compressed = Backend(Config, LatentSpecParser.Parse("sals-12.5", ["dense_below=1000"], Config));
        Equal(Run(dense, exact), Run(compressed, exact));
    }

    [GpuFact]
    public void A_step_launches_what_its_rows_need()
    {
        var spec = LatentSpecParser.Parse("sals-25", [$"dense_below={Below}", "critical=48", "dense_layers=none"], Config);
        using var backend = Backend(Config, spec, graphs: false);
        Assert.Equal((true, false), Launched(0, 3));
        Assert.Equal((false, true), Launched(4, 5));
        Assert.Equal((true, true), Launched(0, 4));
        Assert.Equal((true, false), Launched(3));
        Assert.Equal((false, true), Launched(4));

        (bool Dense, bool Sparse) Launched(params int[] rows)
        {
            var plans = Start(backend, rows);
            var names = new HashSet<string>();
            backend.Stream.Filter = name => names.Add(name) || true;
            try
            {
                Step(plans, rows);
            }
            finally
            {
                backend.Stream.Filter = null;
            }

            Assert.Equal(names.Contains("dense_attend"), names.Contains("merge_runs"));
            Assert.Equal(names.Contains("merge_items"), names.Any(name => name.StartsWith("score_select", StringComparison.Ordinal)));
            return (names.Contains("dense_attend"), names.Contains("merge_items"));
        }
    }

    /// <summary>Tokens and their log-probabilities of every row, from prompts of their lengths less one.</summary>
    private static float[][] Run(CudaBackend backend, int[] rows)
    {
        var plans = Start(backend, rows);
        var found = rows.Select(_ => new List<float>()).ToArray();
        for (var step = 0; step < Count; step++)
        {
            var result = Step(plans, rows);
            for (var i = 0; i < rows.Length; i++)
            {
                found[i].AddRange([result.Tokens[i], result.LogProbabilities[i]]);
            }
        }

        return [.. found.Select(values => values.ToArray())];
    }

    private static Plans Start(CudaBackend backend, int[] rows)
    {
        var plans = new Plans(backend);
        for (var i = 0; i < rows.Length; i++)
        {
            var random = new Random(rows[i]);
            int[] prompt = [.. Enumerable.Range(0, Lengths[rows[i]] - 1).Select(_ => random.Next(Config.VocabularySize))];
            plans.Start(i, prompt, new SamplingOptions { Temperature = 1, TopP = 0.95f, Seed = (ulong)rows[i], LogProbabilities = 0 }).Prefill(i, prompt).Step();
        }

        return plans;
    }

    // a row's first step decodes the token at its length
    private static StepResult Step(Plans plans, int[] rows)
    {
        for (var i = 0; i < rows.Length; i++)
        {
            plans.Decode(i);
        }

        return plans.Step();
    }

    private static void Equal(float[][] expected, float[][] found)
    {
        for (var i = 0; i < expected.Length; i++)
        {
            Close.Exactly(expected[i], found[i], $"row {i} of {expected.Length}");
        }
    }

    private static CudaBackend Backend(ModelConfig config, LatentSpec spec, bool graphs = true)
    {
        using var weights = TinyModel.Build(config, type: ElementType.BFloat16);
        return new CudaBackend(weights, new CudaBackendOptions
        {
            Slots = 10,
            MaxModelLength = config.MaxModelLength,
            CacheBytes = 512L << 20,
            Spec = spec,
            Basis = spec.IsDense ? null : RandomBasis.Create(spec, config.KeyWidth, eigenvalue: 30),
            KernelCacheFolder = Gpu.KernelFolder,
            Graphs = graphs,
        });
    }
}
