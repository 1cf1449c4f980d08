using Sals.Engine.Backends.Cpu;
using Sals.Engine.Backends.Cuda;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Sampling;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Backends;

/// <summary>Greedy text of the embedded model: exact along transformers' tokens (golden.json), and under both presets, compressed from the first page on, along the CPU's.</summary>
public class EmbeddedTextTests
{
    private const int Count = 64;
    private const int Longest = 2048;

    [GpuTheory]
    [InlineData("sals-25", "latent_format=bf16")]
    [InlineData("sals-12.5", "latent_format=bf16")]
    [InlineData("sals-12.5", "dense_format=int8")]
    public void Greedy_text_of_the_embedded_model_is_the_cpu_s_but_for_near_ties(string preset, string setting)
    {
        using var model = Open(out var folder);
        var basisFile = Path.Combine(folder, "sals-basis.safetensors");
        Assert.SkipUnless(File.Exists(basisFile), $"{basisFile} is missing");
        var spec = LatentSpecParser.Parse(preset, ["dense_below=0", setting], model.Config);
        var basis = LatentBasisFile.Read(basisFile, spec, model.Config, ModelFingerprint.Of(model.Weights));
        foreach (var (prompt, _) in Golden())
        {
            Follow(model.Weights, spec, basis, prompt, null);
        }
    }

    [GpuFact]
    public void Exact_text_of_the_embedded_model_is_the_golden_one_but_for_near_ties()
    {
        using var model = Open(out _);
        foreach (var (prompt, greedy) in Golden())
        {
            Follow(model.Weights, LatentSpec.Dense(model.Config.LayerCount), null, prompt, greedy);
        }
    }

    private static ModelFolder Open(out string folder)
    {
        folder = Path.Combine(GoldenTextTests.Root(), "src", "Sals.Server", "EmbeddedModel");
        Assert.SkipUnless(File.Exists(Path.Combine(folder, "config.json")), $"{folder} holds no model");
        return ModelFolder.Open(folder);
    }

    private static List<(int[] Prompt, int[] Greedy)> Golden() => GoldenTextTests.Prompts(Path.Combine(GoldenTextTests.Root(), "tests", "golden", "sals-tiny"));

    /// <param name="golden">The tokens to follow; null = the CPU's own, <see cref="Count"/> of them.</param>
    private static void Follow(ModelWeights weights, LatentSpec spec, LatentBasis? basis, int[] prompt, int[]? golden)
    {
        using var cpu = new CpuBackend(weights, new CpuBackendOptions { Slots = 1, MaxModelLength = Longest, CacheBytes = 256L << 20, Spec = spec, Basis = basis });
        using var cuda = new CudaBackend(
            weights, new CudaBackendOptions { Slots = 1, MaxModelLength = Longest, CacheBytes = 256L << 20, Spec = spec, Basis = basis, KernelCacheFolder = Gpu.KernelFolder });
        LogitProbe ofCpu = new(), ofCuda = new();
        (cpu.Probe, cuda.Probe) = (ofCpu, ofCuda);
        var greedy = new SamplingOptions { Temperature = 0 };
        Plans a = new(cpu), b = new(cuda);
        int expected = a.Start(0, prompt, greedy).Prefill(0, prompt).Step().Tokens[0], found = b.Start(0, prompt, greedy).Prefill(0, prompt).Step().Tokens[0];
        double worst = 0, widest = 0;
        var (count, differing) = (golden?.Length ?? Count, 0);
        for (var i = 0; i < count; i++)
        {
            expected = golden?[i] ?? expected;
            float[] x = ofCpu.Logits(0, prompt.Length - 1 + i), y = ofCuda.Logits(0, prompt.Length - 1 + i);
            worst = Math.Max(worst, x.Zip(y, (p, q) => Math.Abs(p - q)).Max());
            if (expected != found)
            {
                differing++;
                var gap = x[expected] - x[found];
                widest = Math.Max(widest, gap);
                Console.WriteLine($"{spec.Name}, prompt of {prompt.Length}: token {i} is {found}, expected {expected}, logits {gap:F4} apart there");
            }

            (var next, expected) = (expected, a.Decode(0, forced: expected).Step().Tokens[0]);
            found = b.Decode(0, forced: next).Step().Tokens[0];
        }

        Console.WriteLine($"{spec.Name}, prompt of {prompt.Length}: {count - differing} of {count} tokens equal, logits off by at most {worst:F4}");

        // near tie: closer than the largest difference that rounding made in any logit on the way
        Assert.True(widest <= 2 * worst && worst < 1, $"a token differs where the best are {widest} apart; logits are off by {worst}");
        Assert.True(differing <= 3, $"{differing} of {count} tokens differ");
    }
}
