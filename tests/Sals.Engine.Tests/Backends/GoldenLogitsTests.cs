using System.Text.Json;
using Sals.Engine.Backends.Cpu;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Tests.Models;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Backends;

/// <summary>Hugging Face's float32 logits within 1e-3 and its greedy tokens, for every checkpoint in the repository.</summary>
public class GoldenLogitsTests
{
    private const double Tolerance = 1e-3;

    public static TheoryData<string> MicroCheckpoints() =>
        [.. from kind in new[] { "micro", "micro-gpu" }
            from folder in Directory.GetDirectories(Path.Combine(GoldenFolders.Root, "tests", "golden", kind)).Order(StringComparer.Ordinal)
            select Path.GetRelativePath(GoldenFolders.Root, folder)];

    [Theory]
    [MemberData(nameof(MicroCheckpoints))]
    public void Micro_checkpoint(string name)
    {
        var folder = Path.Combine(GoldenFolders.Root, name);
        using var model = ModelFolder.Open(folder);
        using var backend = Open(model, 256);
        foreach (var prompt in Golden(Path.Combine(folder, "golden.json")))
        {
            var ids = Ints(prompt, "ids");
            var positions = Ints(prompt, "logit_positions");
            var logits = prompt.GetProperty("logits").EnumerateArray().Select(Floats).ToArray();

            // the positions before the last one as decode rows: both paths must agree with the oracle
            var probe = new LogitProbe();
            backend.Probe = probe;
            var plans = new Plans(backend);
            var begin = ids[..(positions[0] + 1)];
            plans.Start(0, begin).Prefill(0, begin).Step();
            for (var p = begin.Length; p < ids.Length; p++)
            {
                plans.Decode(0, ids[p]).Step();
            }

            plans.Start(1, ids).Prefill(1, ids);
            var first = plans.Step().Tokens[0];
            for (var i = 0; i < positions.Length; i++)
            {
                Close.To(logits[i], probe.Logits(0, positions[i]), Tolerance, what: $"{name}, position {positions[i]}");
            }

            Close.To(logits[^1], probe.Logits(1, positions[^1]), Tolerance, what: $"{name}, last position by prefill");
            Assert.Equal(Ints(prompt, "greedy_ids"), plans.Generate(1, first, 32));
        }
    }

    [Fact]
    public void Embedded_model()
    {
        using var model = ModelFolder.Open(GoldenFolders.Embedded);
        using var backend = Open(model, model.Config.MaxModelLength);
        foreach (var prompt in Golden(Path.Combine(GoldenFolders.Root, "tests", "golden", "sals-tiny", "golden.json")))
        {
            var name = prompt.GetProperty("name").GetString();
            var ids = Ints(prompt, "ids");
            var probe = new LogitProbe();
            backend.Probe = probe;
            var plans = new Plans(backend);
            var first = plans.Start(0, ids).Prefill(0, ids).Step().Tokens[0];
            var logits = probe.Logits(0, ids.Length - 1);
            Close.To(Floats(prompt.GetProperty("top20_logits")), [.. Ints(prompt, "top20_ids").Select(id => logits[id])], Tolerance, what: name);
            backend.Probe = null;
            Assert.Equal(Ints(prompt, "greedy_ids"), plans.Generate(0, first, 48));
        }
    }

    private static CpuBackend Open(ModelFolder model, int length) => new(model.Weights, new CpuBackendOptions
    {
        Slots = 2,
        MaxModelLength = length,
        CacheBytes = 512L << 20,
        Spec = LatentSpec.Dense(model.Config.LayerCount),
    });

    private static JsonElement[] Golden(string file) =>
        [.. JsonDocument.Parse(File.ReadAllBytes(file)).RootElement.GetProperty("prompts").EnumerateArray()];

    private static int[] Ints(JsonElement element, string name) => [.. element.GetProperty(name).EnumerateArray().Select(x => x.GetInt32())];

    private static float[] Floats(JsonElement element) => [.. element.EnumerateArray().Select(x => x.GetSingle())];
}
