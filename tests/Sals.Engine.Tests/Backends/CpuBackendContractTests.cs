using System.Runtime.InteropServices;
using Sals.Engine.Backends;
using Sals.Engine.Backends.Cpu;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Scheduling;
using Sals.Engine.Tests.Latent;
using Sals.Testing;
using Xunit;

namespace Sals.Engine.Tests.Backends;

public class CpuBackendContractTests : StepBackendContract
{
    protected override ElementType ExactType => ElementType.Float32;

    protected override IStepBackend Create(ModelWeights weights, int? sampleable = null) => Create(weights, sampleable, threads: 2);

    protected override void PoisonCache(IStepBackend backend)
    {
        var info = backend.Info;
        foreach (var pool in PoolKinds.All.Where(p => info.BytesOf(p) > 0))
        {
            for (var at = info.SlabBytes * (1 + (int)pool); at + info.BytesOf(pool) <= info.SlabBytes * (2 + (int)pool); at += info.BytesOf(pool))
            {
                Poison.Fill(((CpuBackend)backend).Cache.Page(pool, (int)(at / PageLayout.Unit)));
            }
        }
    }

    protected override void PoisonTokens(IStepBackend backend, PoolKind pool, int page, int first)
    {
        var cache = ((CpuBackend)backend).Cache;
        var layout = cache.Layout;
        var layers = pool == PoolKind.Dense ? layout.Spec.DenseLayers : layout.Spec.SparseLayers;
        foreach (var layer in layers)
        {
            if (cache.IsCoded(pool))
            {
                var planes = new HeadPlanes(cache.Page(pool, page), layout, layer);
                for (var head = 0; head * layout.HeadSize < layout.KeyWidth; head++)
                {
                    foreach (var values in new[] { false, true })
                    {
                        Poison.Fill(MemoryMarshal.AsBytes(planes.Peaks(values, head)[first..]));
                        for (var t = first; t < PageLayout.PageSize; t++)
                        {
                            Poison.Fill(MemoryMarshal.AsBytes(planes.Codes(values, t, head)));
                        }
                    }
                }

                continue;
            }

            foreach (var offset in new[] { layout.KeyOffset(layer), layout.ValueOffset(layer) })
            {
                var plane = MemoryMarshal.Cast<byte, float>(cache.Page(pool, page).Slice((int)offset, layout.ExactPlaneBytes));
                Poison.Fill(plane[(first * layout.KeyWidth)..]);
            }
        }
    }

    protected override bool IsPoison(IStepBackend backend, PoolKind pool, int page) => Poison.IsWhole(((CpuBackend)backend).Cache.Page(pool, page));

    [Fact]
    public void Threads_do_not_change_the_logits()
    {
        var model = TinyModel.Build(Everything(), type: ElementType.BFloat16);
        var prompt = Prompt(30, 150);
        var logits = new List<float[]>();
        foreach (var threads in new[] { 1, 2, 5 })
        {
            using var backend = (CpuBackend)Create(model, null, threads);
            var probe = new LogitProbe();
            backend.Probe = probe;
            var plans = new Plans(backend);
            plans.Start(0, prompt).Prefill(0, prompt).Step();
            plans.Decode(0, 5).Step();
            logits.Add([.. probe.Logits(0, 149), .. probe.Logits(0, 150)]);
        }

        Close.Exactly(logits[0], logits[1]);
        Close.Exactly(logits[0], logits[2]);
    }

    [Fact]
    public void Prefill_and_decode_agree_for_every_option_of_a_model()
    {
        using var backend = (CpuBackend)Create(TinyModel.Build(Everything()), null, 2);
        var probe = new LogitProbe();
        backend.Probe = probe;
        var plans = new Plans(backend);
        var prompt = Prompt(31, 75);
        plans.Start(0, prompt).Prefill(0, prompt).Start(1, prompt[..1]).Prefill(1, prompt[..1]).Step();
        foreach (var token in prompt[1..])
        {
            plans.Decode(1, token).Step();
        }

        Close.To(probe.Logits(0, 74), probe.Logits(1, 74), Tolerance);
    }

    [Fact]
    public void Nothing_is_allocated_per_step()
    {
        using var backend = Create(TinyModel.Build(), null, 2);
        var prompt = Prompt(32, 130); // one latent page in a compressed cache; the steps below stay within the third page
        var sampling = new Sals.Engine.Sampling.SamplingOptions { TopK = 20, TopP = 0.9f, MinP = 0.01f, PresencePenalty = 1, LogProbabilities = 20 };
        var plans = new Plans(backend);
        plans.Start(0, prompt, sampling).Prefill(0, prompt).Start(1, prompt, sampling).Prefill(1, prompt).Step();
        plans.Decode(0).Decode(1).Step();
        var plan = new StepPlan(Slots, MaxLength);
        var result = new StepResult(Slots);
        var allocated = new long[7];
        for (var round = 0; round < allocated.Length; round++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            for (var i = 0; i < 8; i++)
            {
                plan.Decodes.Add(new DecodeRow(0));
                plan.Decodes.Add(new DecodeRow(1));
                backend.Collect(backend.Submit(plan), result);
                plan.Clear();
            }

            allocated[round] = GC.GetAllocatedBytesForCurrentThread() - before;
        }

        // on a busy machine a later round may be the first whose worker sleeps or whose code is compiled anew; what a step allocates is in every round
        Assert.True(allocated[1..].Min() == 0, $"decode steps allocated {string.Join(", ", allocated)} bytes");
    }

    /// <summary>Every optional part at once: biases everywhere, q/k norms, an untied head, sizes that are no multiple of a panel.</summary>
    private static ModelConfig Everything() => TinyModel.Config() with
    {
        QueryKeyValueBias = true,
        OutputBias = true,
        MlpBias = true,
        QueryKeyNorm = true,
        TiedEmbeddings = false,
        HeadSize = 40,
        IntermediateSize = 72,
        VocabularySize = 301,
        LayerCount = 2,
    };

    private CpuBackend Create(ModelWeights weights, int? sampleable, int threads) => new(weights, new CpuBackendOptions
    {
        Slots = Slots,
        MaxModelLength = MaxLength,
        CacheBytes = 128L << 20,
        Spec = Spec(weights.Config),
        Basis = Spec(weights.Config) is { IsDense: false } spec ? RandomBasis.Create(spec, weights.Config.KeyWidth) : null,
        SampleableVocabulary = sampleable,
        Threads = threads,
    });

    protected virtual LatentSpec Spec(ModelConfig config) => LatentSpec.Dense(config.LayerCount);
}

/// <summary>The same rules for compressed caches, from the first page that leaves the window on.</summary>
public class CpuSparseContractTests : CpuBackendContractTests
{
    protected override LatentSpec Spec(ModelConfig config) => LatentSpecParser.Parse(
        "sals-25", ["dense_below=0", "critical=20", "dense_layers=0", config.KeyWidth % 32 == 0 ? "value_bits=4" : "value_bits=16"], config);
}

/// <summary>The same with a rank for each layer and a number of tokens that the scores of every head in every band decide.</summary>
public class CpuSelectionContractTests : CpuBackendContractTests
{
    protected override LatentSpec Spec(ModelConfig config) => LatentSpecParser.Parse(
        "sals-25",
        [
            "dense_below=0", "dense_layers=0", "critical_mass=0.5", "critical_min=3", "critical_max=40", "score_rope=bands", "score_heads=zscore",
            $"layer_ranks={string.Join(',', Enumerable.Range(1, config.LayerCount - 1).Select(layer => 16 * (1 + (layer % 2))))}",
            config.KeyWidth % 32 == 0 ? "value_bits=4" : "value_bits=16",
        ],
        config);
}

/// <summary>The same with every layer dense and its keys and values as int8 codes.</summary>
public class CpuInt8ContractTests : CpuBackendContractTests
{
    // rounding keys and values of all layers to 8 bits, in a random model whose scores are large
    protected override double Tolerance => 0.2;

    protected override LatentSpec Spec(ModelConfig config) => LatentSpecParser.Parse("dense", ["dense_format=int8"], config);
}
