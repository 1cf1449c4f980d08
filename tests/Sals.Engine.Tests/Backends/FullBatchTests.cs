using System.Globalization;
using Sals.Engine.Backends;
using Sals.Engine.Backends.Cuda;
using Sals.Engine.Backends.Cuda.Benchmarks;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Tests.Text;
using Xunit;

namespace Sals.Engine.Tests.Backends;

/// <summary>What an H100 of 80 GB holds, by the budget's and the allocator's own arithmetic: batches at 32K tokens, and four prompts of 128K.</summary>
public sealed class FullBatchTests(ITestOutputHelper output)
{
    // what the driver reports for one, and the default utilization
    private const long DeviceBytes = 85_029_158_912;

    [Theory]
    [InlineData("dense", 13, 14)]
    [InlineData("sals-25 rank_ratio=0.25 latent_format=int8 dense_format=int8", 48, 56)]
    [InlineData("sals-12.5 rank_ratio=0.125 latent_format=int8 dense_format=int8", 70, 84)]
    public void Largest_batch_at_32K(string cache, int least, int most)
    {
        var info = Plan("mistral-7b-v0.2", cache, CudaBackend.MaxSlots, 32768, out var memory);
        var rows = FullBatch.Rows(info, 32768 - 72, 32768);
        output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{cache}: {rows} rows of 32,768 tokens in {info.CacheBytes / (double)(1L << 30):0.0} GiB of pages (slabs of {info.SlabBytes >> 20} MiB), beside weights {memory.WeightBytes / (double)(1L << 30):0.0} and work {memory.WorkBytes / (double)(1L << 30):0.0} GiB"));
        Assert.InRange(rows, least, most);

        // steps of more than 64 rows have graphs too
        Assert.Contains(DecodeGraphs.BucketsUpTo(CudaBackend.MaxSlots), bucket => bucket >= rows);
    }

    [Fact]
    public void Batch_is_bounded_by_slots_and_by_one_sequence()
    {
        var info = Plan("mistral-7b-v0.2", "dense", 4, 4096, out _);
        Assert.Equal(4, FullBatch.Rows(info, 1000, 1064));
        Assert.Equal(0, FullBatch.Rows(info with { CacheBytes = 2 * info.SlabBytes, SlabBytes = info.SlabBytes }, 4000, 4096));
    }

    [Theory]
    [InlineData("sals-25 latent_format=int8")]
    [InlineData("sals-12.5 latent_format=int8")]
    public void Four_prompts_of_128K_fit_beside_the_lanes(string cache)
    {
        var info = Plan("llama-3.1-8b", cache, 16, 131_072, out var memory);
        Assert.True(memory.Fits);
        Assert.Equal(131_072, memory.MaxModelLength);
        var rows = FullBatch.Rows(info, 130_900, 131_000);
        output.WriteLine(string.Create(CultureInfo.InvariantCulture,
            $"{cache}: {rows} sequences of 131,000 tokens in {info.CacheBytes / (double)(1L << 30):0.0} GiB; weights {memory.WeightBytes / (double)(1L << 30):0.0}, slots and lanes {memory.WorkBytes / (double)(1L << 30):0.0} GiB"));
        Assert.InRange(rows, 4, 16);
    }

    private static BackendInfo Plan(string shape, string cache, int slots, int length, out CudaMemoryPlan memory)
    {
        using var folder = ModelFolder.Open(Path.Combine(TestTokenizers.RepositoryRoot, "tests", "shapes", shape), null, LoadFormat.Dummy);
        var words = cache.Split(' ');
        var spec = LatentSpecParser.Parse(words[0], words[1..], folder.Config);
        var options = new CudaBackendOptions { Slots = slots, MaxModelLength = length, Spec = spec };
        memory = CudaBackend.PlanMemory(folder.Weights, options, DeviceBytes);
        var layout = new PageLayout(folder.Config, spec, ElementType.BFloat16);
        var slab = layout.SlabBytes(memory.CacheBytes);
        return new BackendInfo
        {
            Name = "cuda",
            VocabularySize = folder.Config.VocabularySize,
            LayerCount = folder.Config.LayerCount,
            SlotCount = slots,
            MaxModelLength = length,
            LookAhead = 1,
            CacheBytes = memory.CacheBytes / slab * slab,
            SlabBytes = slab,
            Spec = spec,
            PageBytes = [.. PoolKinds.All.Select(layout.PageBytes)],
            ExactPageBytes = layout.ExactPageBytes,
            CacheTokens = layout.TokensIn(memory.CacheBytes, length),
            LaneLengths = CudaBackend.LaneLengths(length),
            PrefillChunk = CudaBackend.Chunk,
            PrefillCost = PrefillCost.Linear(1, 0),
        };
    }
}
