using Sals.Engine.Backends.Cpu;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Sampling;
using Sals.Engine.Scheduling;
using Sals.Kernels.Cuda.Kernels.PlanStep;
using Sals.Kernels.Cuda.Kernels.SampleToken;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Kernels;

public class SampleTokenKernelTests
{
    private const int V = 5003;
    private const int Sampleable = 5000;
    private const int Words = (V + 31) / 32;

    public static TheoryData<string> Settings =>
    [
        "greedy", "plain", "cold", "top_k", "top_k_1", "top_p", "top_p_tiny", "min_p", "everything", "penalties", "bias", "held", "mask", "ties",
    ];

    [GpuTheory]
    [MemberData(nameof(Settings))]
    public void Tokens_match_reference(string name) => TokensMatch(name, 64);

    // few enough for tools that slow a kernel a hundred times
    [GpuTheory]
    [MemberData(nameof(Settings))]
    public void Tokens_of_two_rows_match_reference(string name) => TokensMatch(name, 2);

    [GpuFact]
    public void Log_probabilities_and_alternatives_are_of_the_raw_logits()
    {
        const int rows = 3;
        using var gpu = Gpu.Open();
        var inputs = new Inputs();
        var test = new Case(inputs, rows, "everything") { LogProbabilities = 20, Target = 17 };
        var (tokens, logProbability, target, topId, topLogProbability) = test.Run(gpu);
        for (var b = 0; b < rows; b++)
        {
            var raw = test.Logits.AsSpan(b * V, Sampleable);
            var sum = LogProbabilities.LogSumExp(raw, new float[Sampleable]);
            var ids = new int[20];
            var values = new float[20];
            Sals.Engine.Backends.Cpu.Reference.LogProbabilities.Top(raw, sum, ids, values);
            Assert.Equal(ids, topId[(b * 20)..((b + 1) * 20)]);
            Close.To(values, topLogProbability.AsSpan(b * 20, 20), 2e-5, 1e-5, $"row {b}, {inputs}");
            Close.To([raw[tokens[b]] - sum, raw[17] - sum], [logProbability[b], target[b]], 2e-5, 1e-5, $"row {b}, {inputs}");
        }
    }

    [GpuFact]
    public void Draws_follow_the_probabilities()
    {
        // chi-square over 4,096 draws of ten ids with known weights; 40 is beyond the 99.999% point of 9 degrees of freedom
        const int rows = 256, rounds = 16;
        using var gpu = Gpu.Open();
        var inputs = new Inputs();
        var test = new Case(inputs, rows, "ten");
        var seen = new int[10];
        for (var round = 0; round < rounds; round++)
        {
            test.Lengths = 100 + round;
            foreach (var token in test.Run(gpu).Tokens)
            {
                seen[token]++;
            }
        }

        var weights = Enumerable.Range(0, 10).Select(i => Math.Exp(i * 0.3)).ToArray();
        var chi = Enumerable.Range(0, 10).Sum(i =>
        {
            var expected = rows * rounds * weights[i] / weights.Sum();
            return (seen[i] - expected) * (seen[i] - expected) / expected;
        });
        Assert.True(chi < 40, $"chi-square {chi:F1}, {inputs}");
    }

    private static void TokensMatch(string name, int rows)
    {
        using var gpu = Gpu.Open();
        var inputs = new Inputs();
        var test = new Case(inputs, rows, name);
        var (tokens, _, _, _, _) = test.Run(gpu);
        var differing = new List<string>();
        for (var b = 0; b < rows; b++)
        {
            var expected = test.Expected(b);
            if (expected != tokens[b])
            {
                differing.Add($"row {b}: expected {expected}, found {tokens[b]}");
            }
        }

        // exp differs by an ulp or two between host and device: a draw that falls on such an edge may differ, which is rarer than one in 10^5
        Assert.True(differing.Count == 0, $"{name}, {inputs}: {string.Join("; ", differing)}");
    }

    private sealed class Case
    {
        private readonly SamplingOptions[] _options;
        private readonly int[][] _prompts;
        private readonly int[][] _outputs;
        private readonly uint[]? _mask;

        public Case(Inputs inputs, int rows, string name)
        {
            Rows = rows;
            Logits = inputs.Normal(rows * V, 3);
            var random = new Random(inputs.Seed);
            if (name == "ties")
            {
                for (var i = 0; i < Logits.Length; i++)
                {
                    Logits[i] = MathF.Round(Logits[i]);
                }
            }

            if (name == "ten")
            {
                Array.Fill(Logits, float.NegativeInfinity);
                for (var i = 0; i < rows * 10; i++)
                {
                    Logits[(i / 10 * V) + (i % 10)] = i % 10 * 0.3f;
                }
            }

            // the padding of the vocabulary must never be drawn
            for (var b = 0; b < rows; b++)
            {
                Logits.AsSpan((b * V) + Sampleable, V - Sampleable).Fill(1e9f);
            }

            _options = new SamplingOptions[rows];
            _prompts = new int[rows][];
            _outputs = new int[rows][];
            for (var b = 0; b < rows; b++)
            {
                var o = new SamplingOptions { Temperature = 0.9f, Seed = (ulong)random.NextInt64(), Stream = (uint)(b % 3) };
                _options[b] = name switch
                {
                    "greedy" => o with { Temperature = 0 },
                    "cold" => o with { Temperature = 0.05f },
                    "top_k" => o with { TopK = 1 + random.Next(100) },
                    "top_k_1" => o with { TopK = 1 },
                    "top_p" => o with { TopP = 0.05f + (0.9f * random.NextSingle()) },
                    "top_p_tiny" => o with { TopP = 1e-6f },
                    "min_p" => o with { MinP = 0.3f * random.NextSingle() },
                    "everything" => o with { MinP = 0.001f, TopK = 500, TopP = 0.8f, RepetitionPenalty = 1.3f, PresencePenalty = 0.5f, FrequencyPenalty = 0.25f },
                    "penalties" => o with { Temperature = 0, RepetitionPenalty = 1.8f, PresencePenalty = 2, FrequencyPenalty = 0.7f },
                    "bias" => o with { LogitBias = [new(3, 8f), new(4999, -5f), new(77, 9f)] },
                    "held" => o with { Temperature = 0, MinTokens = 6, HeldBackIds = [ArgMax(b)] },
                    "ties" => o with { TopK = 40, TopP = 0.9f },
                    "ten" => o with { Temperature = 1 },
                    _ => o,
                };
                _prompts[b] = [.. Enumerable.Range(0, 20).Select(_ => random.Next(Sampleable)).Append(ArgMax(b))];
                _outputs[b] = [.. Enumerable.Range(0, 3).Select(_ => random.Next(Sampleable)).Append(ArgMax(b)).Append(ArgMax(b))];
            }

            if (name == "mask")
            {
                _mask = new uint[Words];
                for (var i = 0; i < 40; i++)
                {
                    var id = random.Next(Sampleable);
                    _mask[id / 32] |= 1u << (id % 32);
                }
            }
        }

        public int Rows { get; }

        public float[] Logits { get; }

        public int LogProbabilities { get; init; } = -1;

        public int Target { get; init; } = -1;

        public int? Lengths { get; set; }

        private int LengthOf(int row) => Lengths ?? (_prompts[row].Length + _outputs[row].Length);

        public (int[] Tokens, float[] LogProbability, float[] Target, int[] TopId, float[] TopLogProbability) Run(Gpu.Scope gpu)
        {
            // logits of row b lie at row Rows - 1 - b, so that the indirection shows
            var shuffled = new float[Logits.Length];
            var counts = new ushort[Rows * V];
            var prompt = new uint[Rows * Words];
            var bias = new LogitBias[Rows * SampleTokenKernel.MaxBias];
            var held = new int[Rows * SampleTokenKernel.MaxHeld];
            var settings = new SlotSampling[Rows];
            var rows = new StepRow[Rows];
            for (var b = 0; b < Rows; b++)
            {
                Logits.AsSpan(b * V, V).CopyTo(shuffled.AsSpan((Rows - 1 - b) * V));
                rows[b] = new StepRow(b, -1, Target, Rows - 1 - b);
                var o = _options[b];
                var slot = Slot(b);
                settings[b] = new SlotSampling
                {
                    Temperature = o.Temperature,
                    TopP = o.TopP,
                    MinP = o.MinP,
                    Presence = o.PresencePenalty,
                    Frequency = o.FrequencyPenalty,
                    Repetition = o.RepetitionPenalty,
                    TopK = o.TopK,
                    PromptLength = _prompts[b].Length,
                    MinTokens = o.MinTokens,
                    BiasCount = o.LogitBias.Length,
                    HeldCount = o.HeldBackIds.Length,
                    LogProbabilities = LogProbabilities,
                    Counts = slot.Counts ? 1 : 0,
                    Stream = o.Stream,
                    Seed = o.Seed,
                };
                slot.OutputCounts.CopyTo(counts.AsSpan(b * V));
                for (var i = 0; i < V; i++)
                {
                    prompt[(b * Words) + (i / 32)] |= slot.InPrompt(i) ? 1u << (i % 32) : 0;
                }

                for (var i = 0; i < o.LogitBias.Length; i++)
                {
                    bias[(b * SampleTokenKernel.MaxBias) + i] = new LogitBias(o.LogitBias[i].Key, o.LogitBias[i].Value);
                }

                o.HeldBackIds.CopyTo(held, b * SampleTokenKernel.MaxHeld);
            }

            var last = gpu.Poisoned<int>(Rows + 1);
            var state = new SamplingState(
                gpu.Upload<SlotSampling>(settings),
                gpu.Upload<int>([.. Enumerable.Range(0, Rows).Select(LengthOf), 0]),
                last,
                gpu.Upload<LogitBias>(bias),
                gpu.Upload<int>(held),
                gpu.Upload<ushort>(counts),
                gpu.Upload<uint>(prompt));
            var sampled = new SampledTokens(
                gpu.Poisoned<int>(Rows), gpu.Poisoned<float>(Rows), gpu.Poisoned<float>(Rows), gpu.Poisoned<int>(Rows * 20), gpu.Poisoned<float>(Rows * 20));
            var masks = new int[Rows];
            Array.Fill(masks, _mask is null ? -1 : 0);
            new SampleTokenKernel(gpu.Load(SampleTokenKernel.Program(Rows, V, Sampleable))).Launch(
                gpu.Stream,
                gpu.Upload<StepRow>(rows),
                gpu.Upload<int>(masks),
                gpu.Upload<uint>(_mask ?? new uint[Words]),
                state,
                gpu.Upload<float>(shuffled),
                gpu.Poisoned<float>(Rows * V),
                sampled,
                Rows);
            var tokens = gpu.Download(sampled.Token, Rows);
            Assert.Equal(tokens, gpu.Download(last, Rows));
            return (
                tokens, gpu.Download(sampled.LogProbability, Rows), gpu.Download(sampled.TargetLogProbability, Rows), gpu.Download(sampled.TopId, Rows * 20),
                gpu.Download(sampled.TopLogProbability, Rows * 20));
        }

        public int Expected(int row)
        {
            var slot = Slot(row);
            slot.Length = LengthOf(row);
            return SampleToken.Run(Logits.AsSpan(row * V, Sampleable).ToArray(), slot, _mask ?? [], new SampleWorkspace(V));
        }

        private CpuSlot Slot(int row)
        {
            var slot = new CpuSlot(V);
            slot.Start(new SlotStart(0, _options[row], _prompts[row]));
            foreach (var token in _outputs[row])
            {
                slot.CountOutput(token);
            }

            return slot;
        }

        private int ArgMax(int row)
        {
            var logits = Logits.AsSpan(row * V, Sampleable);
            var best = 0;
            for (var i = 1; i < logits.Length; i++)
            {
                best = logits[i] > logits[best] ? i : best;
            }

            return best;
        }
    }
}
