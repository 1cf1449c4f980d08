using Sals.Engine;
using Sals.Engine.Backends;
using Sals.Engine.Backends.Cuda;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Sampling;
using Sals.Engine.Scheduling;
using Sals.Engine.Tests.Backends;
using Sals.Engine.Tests.Latent;
using Sals.Testing;
using Xunit;

namespace Sals.Gpu.Tests.Backends;

/// <summary>The rules of every backend on CUDA, with captured graphs, and what only this backend promises; for one cache.</summary>
public abstract class CudaContract : StepBackendContract
{
    /// <summary>The cache that the rules are checked for.</summary>
    protected abstract LatentSpec Spec { get; }

    protected override double Tolerance => 0.1;

    protected override int MaxLength => 2400;

    protected override ModelWeights Model() => TinyModel.Build(Small(), type: ElementType.BFloat16);

    protected override ElementType ExactType => ElementType.BFloat16;

    protected override IStepBackend Create(ModelWeights weights, int? sampleable = null) => Create(weights, sampleable, graphs: true);

    protected override void PoisonCache(IStepBackend backend)
    {
        // slab 0 holds page 0, which padding rows read
        var cuda = (CudaBackend)backend;
        cuda.Stream.Fill(cuda.Cache.Pages + cuda.Info.SlabBytes, cuda.Cache.Bytes - cuda.Info.SlabBytes, Poison.Byte);
    }

    protected override void PoisonTokens(IStepBackend backend, PoolKind pool, int page, int first)
    {
        var cuda = (CudaBackend)backend;
        var layout = cuda.Cache.Layout;
        var row = layout.KeyWidth * sizeof(ushort);
        foreach (var layer in pool == PoolKind.Dense ? layout.Spec.DenseLayers : layout.Spec.SparseLayers)
        {
            if (layout.IsCoded(layer))
            {
                // codes have no NaN, their peaks do
                foreach (var offset in new[] { layout.KeyOffset(layer), layout.ValueOffset(layer) })
                {
                    cuda.Stream.Fill(cuda.Cache.Page(page) + (offset + (first * layout.KeyWidth)), (PageLayout.PageSize - first) * layout.KeyWidth, Poison.Byte);
                }

                const int head = PageLayout.PageSize * sizeof(ushort);
                for (var at = layout.KeyPeakOffset(layer); at < layout.ValuePeakOffset(layer) + layout.PeakPlaneBytes; at += head)
                {
                    cuda.Stream.Fill(cuda.Cache.Page(page) + (at + (first * sizeof(ushort))), (PageLayout.PageSize - first) * sizeof(ushort), Poison.Byte);
                }

                continue;
            }

            foreach (var offset in new[] { layout.KeyOffset(layer), layout.ValueOffset(layer) })
            {
                cuda.Stream.Fill(cuda.Cache.Page(page) + (offset + (first * row)), (PageLayout.PageSize - first) * row, Poison.Byte);
            }
        }
    }

    protected override bool IsPoison(IStepBackend backend, PoolKind pool, int page)
    {
        var cuda = (CudaBackend)backend;
        var bytes = new byte[cuda.Info.BytesOf(pool)];
        cuda.Stream.DownloadNow(cuda.Cache.Page(page), bytes.AsSpan());
        return Poison.IsWhole(bytes);
    }

    [Fact]
    public void Replayed_graphs_give_the_bits_of_eager_steps()
    {
        using var graphs = Create(Model(), null, graphs: true);
        using var eager = Create(Model(), null, graphs: false);
        var a = Generate(graphs);
        var b = Generate(eager);
        Assert.Equal(a.Tokens, b.Tokens);
        Close.Exactly(a.LogProbabilities, b.LogProbabilities);
    }

    [Fact]
    public void Nothing_is_allocated_per_step()
    {
        using var backend = Create(Model(), null, graphs: true);
        var plans = new Plans(backend);
        plans.Start(0, Prompt(1, 40)).Prefill(0, Prompt(1, 40)).Step();
        plans.Decode(0).Step();
        var plan = new StepPlan(Slots, MaxLength);
        var result = new StepResult(Slots);
        for (var warm = 0; warm < 2; warm++)
        {
            var before = GC.GetAllocatedBytesForCurrentThread();
            for (var i = 0; i < 8; i++)
            {
                plan.Decodes.Add(new DecodeRow(0));
                backend.Collect(backend.Submit(plan), result);
                plan.Clear();
            }

            Assert.True(warm == 0 || GC.GetAllocatedBytesForCurrentThread() == before, "a decode step allocated");
        }
    }

    private static (int[] Tokens, float[] LogProbabilities) Generate(IStepBackend backend)
    {
        var plans = new Plans(backend);
        var sampling = new SamplingOptions { Temperature = 1, TopP = 0.9f, Seed = 11, LogProbabilities = 0 };
        for (var slot = 0; slot < 3; slot++)
        {
            plans.Start(slot, Prompt(slot, 30 + (slot * 70)), sampling).Prefill(slot, Prompt(slot, 30 + (slot * 70)));
        }

        plans.Step();
        List<int> tokens = [];
        List<float> logProbabilities = [];
        for (var i = 0; i < 40; i++)
        {
            var result = plans.Decode(2).Decode(0).Decode(1).Step();
            tokens.AddRange(result.Tokens[..3]);
            logProbabilities.AddRange(result.LogProbabilities[..3]);
        }

        return ([.. tokens], [.. logProbabilities]);
    }

    /// <summary>The smallest model that the kernels serve.</summary>
    protected static ModelConfig Small() => TinyModel.Config(maxModelLength: 2400) with { HiddenSize = 96, HeadSize = 64, IntermediateSize = 160 };

    private protected CudaBackendOptions Options(int? sampleable, bool graphs, int length) => new()
    {
        Slots = Slots,
        MaxModelLength = length,
        CacheBytes = 256L << 20,
        Spec = Spec,
        Basis = Spec.IsDense ? null : RandomBasis.Create(Spec, Small().KeyWidth, eigenvalue: 30),
        SampleableVocabulary = sampleable,
        Graphs = graphs,
        KernelCacheFolder = Gpu.KernelFolder,
    };

    private CudaBackend Create(ModelWeights weights, int? sampleable, bool graphs)
    {
        Assert.SkipWhen(Gpu.Missing is not null, Gpu.Missing ?? "");
        return new CudaBackend(weights, Options(sampleable, graphs, MaxLength));
    }
}

public class CudaBackendContractTests : CudaContract
{
    protected override LatentSpec Spec => LatentSpec.Dense(3);

    [Fact]
    public void Too_small_a_cache_says_what_is_needed()
    {
        Assert.SkipWhen(Gpu.Missing is not null, Gpu.Missing ?? "");
        var error = Assert.Throws<Sals.Kernels.Cuda.Runtime.CudaException>(() => new CudaBackend(Model(), Options(null, true, MaxLength) with { CacheBytes = 4096 }));
        Assert.Contains($"one sequence of {MaxLength} tokens", error.Message, StringComparison.Ordinal);
    }

    [Fact]
    public void An_automatic_length_is_what_the_cache_holds()
    {
        Assert.SkipWhen(Gpu.Missing is not null, Gpu.Missing ?? "");
        // two slabs of 512 KiB, the first for page 0; a page of 64 tokens takes 96 KiB
        using var backend = new CudaBackend(Model(), Options(null, true, MaxLength) with { CacheBytes = 1 << 20, ShortenToFit = true });
        Assert.Equal(5 * PageLayout.PageSize, backend.Info.MaxModelLength);
        using var unlimited = new CudaBackend(Model(), Options(null, true, MaxLength) with { CacheBytes = null, ShortenToFit = true });
        Assert.Equal(MaxLength, unlimited.Info.MaxModelLength);
        var prompt = Prompt(40, 300);
        var a = new Plans(unlimited).Start(0, prompt).Prefill(0, prompt).Step().Tokens[0];
        var driver = new StepDriver(backend, new EngineOptions { CheckIntegrity = true });
        Assert.Equal(a, driver.Run(EngineHarness.Request(prompt, 20))[0][0]);
    }
}

/// <summary>Compressed from the first page that leaves the window on, tokens chosen by score; one layer stays dense.</summary>
public class CudaSparseContractTests : CudaContract
{
    protected override LatentSpec Spec { get; } = LatentSpecParser.Parse("sals-25", ["latent_format=bf16", "dense_below=0", "critical=20", "dense_layers=0"], Small());
}

/// <summary>Integer scores, values of 2 bits, and no dense layer at all.</summary>
public class CudaSparseInt8ContractTests : CudaContract
{
    protected override LatentSpec Spec { get; } =
        LatentSpecParser.Parse("sals-12.5", ["dense_below=0", "critical=20", "dense_layers=none", "latent_format=int8", "sink_tokens=0"], Small());
}

/// <summary>Exact up to a length that the rules' sequences pass: rows of both kinds in one step, and rows that become compressed, beside a dense layer of int8 codes.</summary>
public class CudaSparseAboveContractTests : CudaContract
{
    // as of CudaDenseInt8ContractTests
    protected override double Tolerance => 0.6;

    protected override LatentSpec Spec { get; } =
        LatentSpecParser.Parse("sals-25", ["dense_below=140", "critical=20", "dense_layers=0", "dense_format=int8", "latent_format=bf16"], Small());
}

/// <summary>Every layer dense, with keys and values as int8 codes.</summary>
public class CudaDenseInt8ContractTests : CudaContract
{
    // rounding keys and values of all layers to 8 bits, in a random model whose scores are large; CudaSparseTests compares with the CPU's codes
    protected override double Tolerance => 0.6;

    protected override LatentSpec Spec { get; } = LatentSpecParser.Parse("dense", ["dense_format=int8"], Small());
}
