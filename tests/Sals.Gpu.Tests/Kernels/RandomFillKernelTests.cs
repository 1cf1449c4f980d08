using System.Runtime.InteropServices;
using Sals.Engine.Models;
using Sals.Kernels.Cuda.Kernels.RandomFill;
using Xunit;

namespace Sals.Gpu.Tests.Kernels;

public class RandomFillKernelTests
{
    [GpuTheory]
    [InlineData(1, 2)]
    [InlineData(3, 514)]
    [InlineData(1000, 352)]
    public void Device_makes_what_the_host_makes(int rows, int columns)
    {
        using var gpu = Gpu.Open();
        var tensor = new RandomTensor("model.layers.3.mlp.down_proj.weight", rows, columns, 0.0173f, seed: 11);
        var count = rows * columns;
        var y = gpu.Poisoned<ushort>(count + 2);
        new RandomFillKernel(gpu.Load(RandomFillKernel.Program())).Launch(gpu.Stream, y, count, tensor.Seed, tensor.Stream, tensor.Factor);
        var actual = gpu.Download(y, count + 2);
        Assert.Equal(MemoryMarshal.Cast<byte, ushort>(tensor.RowBytes(0, rows)).ToArray(), actual[..count]);
        Assert.Equal([ushort.MaxValue, ushort.MaxValue], actual[count..]);
    }

    [GpuFact]
    public void Planes_of_the_listed_pages_are_filled_and_nothing_else()
    {
        using var gpu = Gpu.Open();
        const int units = 5, plane = 1024, stride = 1536, offset = 512, layers = 2;
        var arena = gpu.Poisoned<byte>(units * 4096);
        var pages = gpu.Upload<uint>([3, 1]);
        new RandomFillKernel(gpu.Load(RandomFillKernel.Program()))
            .LaunchPages(gpu.Stream, arena, pages, 2, new RandomPlane(offset, stride, plane, layers, RandomContent.Bfloat16, 2), seed: 5);
        var bytes = gpu.Download(arena, units * 4096);
        var numbers = new List<float>();
        for (var unit = 0; unit < units; unit++)
        {
            for (var at = 0; at < 4096; at += 2)
            {
                var inside = unit is 1 or 3 && Enumerable.Range(0, layers).Any(l => at >= offset + (l * stride) && at < offset + (l * stride) + plane);
                var bits = BitConverter.ToUInt16(bytes, (unit * 4096) + at);
                if (inside)
                {
                    numbers.Add(Bf16.Widen(bits));
                }
                else
                {
                    Assert.Equal(ushort.MaxValue, bits);
                }
            }
        }

        Assert.Equal(2 * layers * plane / 2, numbers.Count);
        Assert.InRange(Math.Sqrt(numbers.Average(n => n * n)), 1.8, 2.2);
        Assert.True(numbers.Distinct().Count() > numbers.Count / 2);
    }

    [GpuTheory]
    [InlineData(RandomContent.Int8)]
    [InlineData(RandomContent.Scales)]
    [InlineData(RandomContent.Peaks)]
    public void Codes_and_scales_stay_in_range(RandomContent content)
    {
        using var gpu = Gpu.Open();
        var arena = gpu.Poisoned<byte>(2 * 4096);
        new RandomFillKernel(gpu.Load(RandomFillKernel.Program()))
            .LaunchPages(gpu.Stream, arena, gpu.Upload<uint>([1]), 1, new RandomPlane(0, 0, 4096, 1, content, 127f / 6), seed: 5);
        var bytes = gpu.Download(arena + 4096, 4096);
        if (content == RandomContent.Int8)
        {
            var codes = MemoryMarshal.Cast<byte, sbyte>(bytes).ToArray();
            Assert.DoesNotContain((sbyte)-128, codes);
            Assert.InRange(Math.Sqrt(codes.Average(c => c * c)), 19, 23.5);
            return;
        }

        if (content == RandomContent.Peaks)
        {
            var peaks = MemoryMarshal.Cast<byte, ushort>(bytes).ToArray().Select(Bf16.Widen).ToArray();
            Assert.All(peaks, peak => Assert.InRange(peak, 2, 4));
            Assert.True(peaks.Distinct().Count() > 100);
            return;
        }

        var halves = MemoryMarshal.Cast<byte, Half>(bytes).ToArray();
        for (var i = 0; i < halves.Length; i += 2)
        {
            Assert.InRange((float)halves[i], 0.125f, 0.25f);
            Assert.Equal(-1, (float)halves[i + 1]);
        }
    }
}
