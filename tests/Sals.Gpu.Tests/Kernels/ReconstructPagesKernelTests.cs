using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Paging;
using Sals.Kernels.Cuda.Kernels.ReconstructPages;
using Xunit;

namespace Sals.Gpu.Tests.Kernels;

public class ReconstructPagesKernelTests
{
    [GpuTheory]
    [InlineData(128, 2, 256, 128, 1, true, 4, 32)]
    [InlineData(128, 2, 128, 64, 1, false, 2, 64)]
    [InlineData(128, 4, 512, 256, 1, true, 4, 32)]
    [InlineData(64, 2, 48, 16, 1, true, 3, 64)]
    [InlineData(64, 1, 16, 16, 1, false, 16, 32)]
    [InlineData(128, 8, 512, 256, 4, true, 4, 32)]
    [InlineData(128, 4, 128, 64, 2, false, 2, 64)]
    [InlineData(64, 3, 96, 48, 3, true, 3, 64)]
    public void Latent_pages_match_the_reference_and_hot_pages_are_copied(
        int headSize, int keyHeads, int rank, int scoreRank, int groups, bool int8, int valueBits, int valueGroup)
    {
        const int length = 400;
        using var gpu = Gpu.Open();
        // all of page 0 is sinks, so that its hot copy is whole
        var settings = new LatentCase
        {
            HeadSize = headSize,
            QueryHeads = keyHeads,
            KeyHeads = keyHeads,
            Rank = rank,
            ScoreRank = scoreRank,
            Groups = groups,
            Int8 = int8,
            ValueBits = valueBits,
            ValueGroup = valueGroup,
            Sinks = 64,
        };
        var cache = new LatentCacheCase(gpu, settings, [length], Random.Shared.Next(), order: Random.Shared.Next());
        var pages = CacheTimeline.LatentPages(length, cache.Spec);
        Assert.Equal(5, pages);
        int d = settings.Width, plane = PageLayout.PageSize * d, size = (pages + 1) * plane;
        var rope = gpu.Upload<float>([.. Enumerable.Range(0, length).SelectMany(p =>
            cache.Rope.Cos(p).ToArray().Zip(cache.Rope.Sin(p).ToArray(), (cos, sin) => new[] { cos, sin }).SelectMany(x => x))]);
        var keys = gpu.Poisoned<ushort>(size);
        var values = gpu.Poisoned<ushort>(size);
        new ReconstructPagesKernel(gpu.Load(ReconstructPagesKernel.Program(cache.Shape)), cache.Shape, gpu.Device.Multiprocessors).Launch(
            gpu.Stream, cache.HotTable, cache.LatentTable, cache.Pages, cache.Layout.KeyOffset(LatentCase.Layer), cache.Layout.ScoreOffset(LatentCase.Layer), pages,
            cache.DeviceBasis, rope, keys, values);
        float[] expectedKeys = new float[plane], expectedValues = new float[plane], latents = new float[PageLayout.PageSize * rank];
        float[] actualKeys = gpu.DownloadBf16(keys, size), actualValues = gpu.DownloadBf16(values, size);
        for (var page = 0; page < pages; page++)
        {
            if (page == 0)
            {
                cache.Cpu.Keys(PoolKind.Hot, 0, 0, LatentCase.Layer).CopyTo(expectedKeys);
                cache.Cpu.Values(PoolKind.Hot, 0, 0, LatentCase.Layer).CopyTo(expectedValues);
                Assert.Equal(expectedKeys, actualKeys[..plane]);
            }
            else
            {
                ReconstructPages.Run(
                    cache.Cpu.Page(PoolKind.Latent, cache.Cpu.Table(PoolKind.Latent, 0)[page]), page * PageLayout.PageSize, cache.Rope, cache.Basis, cache.Cpu.Layout,
                    LatentCase.Layer, latents, expectedKeys, expectedValues);
                double difference = 0, norm = 0;
                for (var i = 0; i < plane; i++)
                {
                    difference += Math.Pow(actualKeys[(page * plane) + i] - expectedKeys[i], 2);
                    norm += Math.Pow(expectedKeys[i], 2);
                }

                Assert.True(Math.Sqrt(difference / norm) <= 3e-3, $"page {page}: relative {Math.Sqrt(difference / norm):g3}; seed {cache.Seed}");
            }

            // values are rounded once on either side
            Assert.Equal(Bf16.Narrow(expectedValues), Bf16.Narrow(actualValues.AsSpan(page * plane, plane)));
        }

        Assert.All(actualKeys[(pages * plane)..], x => Assert.True(float.IsNaN(x)));
    }
}
