using System.Runtime.InteropServices;
using Sals.Engine.Backends;
using Sals.Engine.Backends.Cpu;
using Sals.Engine.Backends.Cuda;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Backends;

/// <summary>
/// The compressed cache in whole steps of the CUDA backend against the CPU's, fed the same tokens: prefill, flushes, scored decode, and a prompt that
/// continues a compressed prefix. How far two runs may lie apart is measured, as in <see cref="GoldenTextTests"/>: what rounding the weights alone to bf16
/// does in the float32 CPU backend with the same settings, choices of tokens included.
/// </summary>
public class CudaSparseTests
{
    private const int Prompt = 200;
    private const int Length = 320;
    private const int History = 2 * PageLayout.PageSize;

    public static TheoryData<string, string, string> Cases
    {
        get
        {
            var data = new TheoryData<string, string, string>();
            data.Add("llama2-mha-d64", "sals-25", "latent_format=bf16");
            data.Add("llama2-mha-d64", "sals-12.5", "latent_format=int8");
            data.Add("mistral-gqa-d128", "sals-12.5", "latent_format=bf16");
            data.Add("mistral-gqa-d128", "sals-25", "latent_format=int8");
            data.Add("llama31-gqa-d64-rope-scaled", "sals-25", "latent_format=bf16");
            data.Add("llama31-gqa-d64-rope-scaled", "sals-12.5", "latent_format=int8");
            data.Add("qwen2-bias-d64", "sals-25", "latent_format=bf16");
            data.Add("qwen2-bias-d64", "sals-12.5", "latent_format=int8");
            data.Add("qwen3-qknorm-d128", "sals-25", "latent_format=bf16");
            data.Add("qwen3-qknorm-d128", "sals-12.5", "latent_format=int8");
            data.Add("llama2-mha-d64", "sals-12.5", "latent_format=int8 dense_format=int8");
            data.Add("mistral-gqa-d128", "sals-25", "latent_format=int8 dense_format=int8");
            data.Add("llama2-mha-d64", "sals-25", "score_rope=bands");
            data.Add("mistral-gqa-d128", "sals-12.5", "score_rope=bands");
            data.Add("qwen2-bias-d64", "sals-25", "score_rope=bands");
            data.Add("qwen3-qknorm-d128", "sals-25", "score_rope=bands");
            data.Add("mistral-gqa-d128", "sals-25", "latent_format=bf16 value_bits=3");
            data.Add("llama2-mha-d64", "sals-25", "latent_format=bf16 value_bits=16");
            return data;
        }
    }

    [GpuTheory]
    [MemberData(nameof(Cases))]
    public void Steps_are_the_cpu_s_as_far_as_rounding_goes(string name, string preset, string setting)
    {
        using var model = Open(name);
        var spec = LatentSpecParser.Parse(preset, ["dense_below=0", "critical=40", .. setting.Split(' ')], model.Config);
        Compare(name, model, spec, CalibratedBasis.Of(model.Weights, spec), setting);
    }

    /// <summary>KV heads in groups with a basis of their own: scores, flushes, rebuilt keys and a prefix that comes back.</summary>
    [GpuTheory]
    [InlineData("llama2-mha-d64", "latent_format=int8 basis_groups=2")]
    [InlineData("llama31-gqa-d64-rope-scaled", "latent_format=bf16 rank=64 basis_groups=2")]
    public void Steps_with_grouped_bases_are_the_cpu_s_as_far_as_rounding_goes(string name, string setting) => Steps_are_the_cpu_s_as_far_as_rounding_goes(name, "sals-25", setting);

    /// <summary>Every layer dense, with int8 keys and values: what decode appends, what a prompt stores, and a cached prefix.</summary>
    [GpuTheory]
    [InlineData("llama2-mha-d64")]
    [InlineData("mistral-gqa-d128")]
    public void Int8_keys_and_values_are_the_cpu_s_as_far_as_rounding_goes(string name)
    {
        using var model = Open(name);
        Compare(name, model, LatentSpecParser.Parse("dense", ["dense_format=int8"], model.Config), null, "dense_format=int8");
    }

    private static void Compare(string name, ModelFolder model, LatentSpec spec, LatentBasis? basis, string setting)
    {
        var exact = OnCpu(model.Weights, spec, basis);
        var rounded = OnCpu(Bf16Weights.Of(model.Weights), spec, basis);
        var cuda = OnCuda(model.Weights, spec, basis);
        double off = Apart(exact, cuda), explained = Apart(exact, rounded), missed = Missed(exact, cuda), missedByRounding = Missed(exact, rounded);
        double usual = Spread(exact, cuda), usuallyExplained = Spread(exact, rounded);
        Console.WriteLine(
            $"{name} {spec.Name} {setting}: log-probabilities off by {usual:F4} (at most {off:F4}), by rounding of weights {usuallyExplained:F4} ({explained:F4}); "
                + $"selected differently {missed:P2}, by rounding {missedByRounding:P2}");

        // two independent causes of about one size: the mean square doubles; the largest deviation is that of one row where another token was selected
        Assert.True(usual < 2 * usuallyExplained, $"log-probabilities are off by {usual}, rounding explains {usuallyExplained}");
        Assert.True(off < 4 * explained, $"a log-probability is off by {off}, rounding explains {explained}");
        Assert.True(missed < 0.02 + (2 * missedByRounding), $"{missed:P2} of the selected tokens differ, rounding explains {missedByRounding:P2}");
    }

    /// <summary>Nothing is lost but bf16 of the latents with r = D, every token selected and fp16 values.</summary>
    [GpuTheory]
    [MemberData(nameof(GoldenTextTests.Checkpoints), MemberType = typeof(GoldenTextTests))]
    public void Identity_settings_equal_dense(string name)
    {
        using var model = Open(name);
        var dense = OnCuda(model.Weights, LatentSpec.Dense(model.Config.LayerCount), null);
        var explained = Apart(OnCpu(model.Weights, LatentSpec.Dense(model.Config.LayerCount), null), OnCpu(Bf16Weights.Of(model.Weights), LatentSpec.Dense(model.Config.LayerCount), null));
        foreach (var setting in new[] { "centred=false", "centred=true" })
        {
            var spec = LatentSpecParser.Parse("sals-25", ["latent_format=bf16", "rank_ratio=1", "value_bits=16", "critical=1000", "dense_below=0", setting], model.Config);
            var off = Apart(dense, OnCuda(model.Weights, spec, CalibratedBasis.Of(model.Weights, spec)));
            Console.WriteLine($"{name} identity {setting}: log-probabilities off by {off:F4} from dense, by rounding of weights {explained:F4}");
            Assert.True(off < 2 * explained, $"{setting}: log-probabilities are off by {off}, rounding explains {explained}");
        }
    }

    private static ModelFolder Open(string name) => ModelFolder.Open(Path.Combine(GoldenTextTests.Root(), "tests", "golden", "micro-gpu", name));

    private static Run OnCpu(ModelWeights weights, LatentSpec spec, LatentBasis? basis)
    {
        using var backend = new CpuBackend(weights, new CpuBackendOptions { Slots = 2, MaxModelLength = Length, CacheBytes = 256L << 20, Spec = spec, Basis = basis });
        var probe = new LogitProbe();
        backend.Probe = probe;
        return Drive(backend, probe, weights.Config.VocabularySize);
    }

    private static Run OnCuda(ModelWeights weights, LatentSpec spec, LatentBasis? basis)
    {
        using var backend = new CudaBackend(weights, new CudaBackendOptions { Slots = 2, MaxModelLength = Length, CacheBytes = 256L << 20, Spec = spec, Basis = basis, KernelCacheFolder = Gpu.KernelFolder });
        var probe = new LogitProbe();
        backend.Probe = probe;
        return Drive(backend, probe, weights.Config.VocabularySize);
    }

    private static Run Drive(IStepBackend backend, LogitProbe probe, int vocabulary)
    {
        var random = new Random(31);
        int[] tokens = [.. Enumerable.Range(0, Length).Select(_ => random.Next(vocabulary))];
        var plans = new Plans(backend);
        plans.Start(0, tokens[..Prompt]).Prefill(0, tokens[..Prompt]).Step();
        for (var t = Prompt; t < Length; t++)
        {
            plans.Decode(0, forced: tokens[t]).Step();
        }

        plans.Start(1, tokens[..Prompt]);
        foreach (var pool in PoolKinds.All)
        {
            for (var index = 0; index < History / PageLayout.PageSize; index++)
            {
                if (plans.PageOf(pool, 0, index) != 0)
                {
                    plans.Page(pool, 1, index, plans.PageOf(pool, 0, index));
                }
            }
        }

        plans.Prefill(1, tokens[..Prompt], history: History).Step();
        var spec = backend.Info.Spec;
        return new Run(
            [.. Enumerable.Range(Prompt - 1, Length - Prompt + 1).Select(t => Normed(probe.Logits(0, t))), Normed(probe.Logits(1, Prompt - 1))],
            [
                .. from layer in spec.SparseLayers
                   from t in Enumerable.Range(Prompt, Length - Prompt)
                   select MemoryMarshal.Cast<float, int>(probe.Values($"L{layer:00}.selected", 0, t)).ToArray(),
            ]);
    }

    private static double[] Normed(float[] logits)
    {
        var total = Math.Log(logits.Sum(l => Math.Exp(l)));
        return [.. logits.Select(l => l - total)];
    }

    private static double Apart(Run a, Run b) => a.LogProbabilities.Zip(b.LogProbabilities).Max(rows => rows.First.Zip(rows.Second).Max(v => Math.Abs(v.First - v.Second)));

    /// <summary>Root of the mean square of all differences.</summary>
    private static double Spread(Run a, Run b) =>
        Math.Sqrt(a.LogProbabilities.Zip(b.LogProbabilities).Average(rows => rows.First.Zip(rows.Second).Average(v => (v.First - v.Second) * (v.First - v.Second))));

    private static double Missed(Run a, Run b) =>
        a.Selected.Zip(b.Selected).Sum(sets => sets.First.Except(sets.Second).Count()) / Math.Max(1.0, a.Selected.Sum(set => set.Length));

    /// <param name="LogProbabilities">[rows, V]</param>
    /// <param name="Selected">Of every compressed layer and decode row.</param>
    private sealed record Run(double[][] LogProbabilities, int[][] Selected);
}
