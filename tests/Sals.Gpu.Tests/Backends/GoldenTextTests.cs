using System.Text.Json;
using Sals.Engine.Backends.Cpu;
using Sals.Engine.Backends.Cuda;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Sampling;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Backends;

/// <summary>
/// Greedy tokens of transformers in float32 (golden.json) for the checkpoints whose head sizes the kernels serve, and log-probabilities along them.
/// How much rounding moves a logit depends on the model: these small random ones amplify it by very different factors. So the measure is taken from the
/// model itself: what rounding the weights alone, once, to bf16 does to the logits in the float32 CPU backend. Rounding the activations does about as
/// much again (0.84 to 1.02 of it, in a scalar emulation of two of the checkpoints), independently.
/// </summary>
public class GoldenTextTests
{
    private const int Top = 20;

    public static TheoryData<string> Checkpoints =>
        ["llama2-mha-d64", "llama31-gqa-d64-rope-scaled", "mistral-gqa-d128", "qwen2-bias-d64", "qwen3-qknorm-d128"];

    [GpuTheory]
    [MemberData(nameof(Checkpoints))]
    public void Greedy_tokens_are_the_golden_ones_but_for_near_ties(string name)
    {
        var folder = Path.Combine(Root(), "tests", "golden", "micro-gpu", name);
        using var model = ModelFolder.Open(folder);
        var length = Math.Min(256, model.Config.MaxModelLength);
        var spec = LatentSpec.Dense(model.Config.LayerCount);
        using var backend = new CudaBackend(model.Weights, new CudaBackendOptions { Slots = 4, MaxModelLength = length, CacheBytes = 256L << 20, Spec = spec });
        var sampling = new SamplingOptions { Temperature = 0, LogProbabilities = Top };
        int tokens = 0, ties = 0;
        double worst = 0, rounding = 0, widest = 0;
        List<(int Index, int Found, int Golden, double Gap)> differing = [];
        foreach (var (ids, greedy) in Prompts(folder))
        {
            var exact = LogProbabilities(model.Weights, length, ids, greedy);
            var rounded = LogProbabilities(Bf16Weights.Of(model.Weights), length, ids, greedy);
            rounding = Math.Max(rounding, exact.Zip(rounded).Max(p => p.First.Zip(p.Second).Max(v => Math.Abs(v.First - v.Second))));
            var plans = new Plans(backend);
            var result = plans.Start(0, ids, sampling).Prefill(0, ids).Step();
            for (var i = 0; i < greedy.Length; i++, tokens++)
            {
                worst = Math.Max(worst, Enumerable.Range(0, Top).Max(t => Math.Abs(result.TopLogProbabilities[t] - exact[i][result.TopIds[t]])));
                var found = result.Tokens[0];
                if (found != greedy[i])
                {
                    differing.Add((i, found, greedy[i], exact[i][greedy[i]] - exact[i][found]));
                }

                if (i + 1 < greedy.Length)
                {
                    result = plans.Decode(0, forced: greedy[i]).Step();
                }
            }
        }

        // two independent causes of about one size
        var tolerance = Math.Sqrt(2) * rounding;
        foreach (var (index, found, expected, gap) in differing)
        {
            ties++;
            widest = Math.Max(widest, gap);
            Console.WriteLine($"{name}: token {index} is {found}, golden {expected}, {gap:F4} apart in float32");
        }

        Console.WriteLine(
            $"{name}: {tokens - ties} of {tokens} tokens equal, widest tie {widest:F4}; log-probabilities off by at most {worst:F4}, tolerance {tolerance:F4}");

        // the largest of some thousand deviations varies from one rounding to another by less than two; a tie moves by one deviation either way
        Assert.True(worst < 2 * tolerance, $"{name}: a log-probability is off by {worst}, rounding explains {tolerance}");
        Assert.True(widest < 2 * tolerance, $"{name}: a token differs where the best are {widest} apart, rounding explains {tolerance} for each");
        Assert.True(ties * 4 <= tokens, $"{name}: {ties} of {tokens} tokens differ");
    }

    /// <summary>[output, V] by the CPU backend in float32, fed the expected tokens.</summary>
    private static double[][] LogProbabilities(ModelWeights weights, int length, int[] prompt, int[] output)
    {
        var spec = LatentSpec.Dense(weights.Config.LayerCount);
        using var backend = new CpuBackend(weights, new CpuBackendOptions { Slots = 1, MaxModelLength = length, CacheBytes = 64L << 20, Spec = spec });
        var probe = new LogitProbe();
        backend.Probe = probe;
        var plans = new Plans(backend);
        plans.Start(0, prompt).Prefill(0, prompt).Step();
        foreach (var token in output[..^1])
        {
            plans.Decode(0, forced: token).Step();
        }

        return
        [
            .. output.Select((_, i) =>
            {
                var logits = probe.Logits(0, prompt.Length - 1 + i);
                var total = Math.Log(logits.Sum(l => Math.Exp(l)));
                return logits.Select(l => l - total).ToArray();
            }),
        ];
    }

    /// <summary>Prompts of a folder's golden.json, and the tokens that transformers went on with.</summary>
    internal static List<(int[] Prompt, int[] Greedy)> Prompts(string folder)
    {
        using var golden = JsonDocument.Parse(File.ReadAllText(Path.Combine(folder, "golden.json")));
        return [.. golden.RootElement.GetProperty("prompts").EnumerateArray().Select(p => (Ids(p, "ids"), Ids(p, "greedy_ids")))];

        static int[] Ids(JsonElement prompt, string name) => [.. prompt.GetProperty(name).EnumerateArray().Select(e => e.GetInt32())];
    }

    /// <summary>Folder with tests/golden: SALS_ROOT, or the first above the working directory.</summary>
    internal static string Root()
    {
        var folder = Environment.GetEnvironmentVariable("SALS_ROOT") ?? Directory.GetCurrentDirectory();
        while (!Directory.Exists(Path.Combine(folder, "tests", "golden")))
        {
            folder = Path.GetDirectoryName(folder) ?? throw new DirectoryNotFoundException("tests/golden was not found; set SALS_ROOT to the repository.");
        }

        return folder;
    }
}
