using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.RandomFill;

/// <summary>What a plane of a cache page holds.</summary>
public enum RandomContent
{
    /// <summary>Nearly normal bf16.</summary>
    Bfloat16,

    /// <summary>Nearly normal int8, clipped at 127.</summary>
    Int8,

    /// <summary>Uniform bits: packed codes.</summary>
    Bits,

    /// <summary>Pairs of fp16, scale 1/8 to 1/4 and zero -1.</summary>
    Scales,

    /// <summary>Uniform bf16 of 2 to 4: largest numbers of heads.</summary>
    Peaks,
}

/// <summary>One plane in every layer of a page.</summary>
/// <param name="Offset">Bytes from the page's start to the first layer's plane.</param>
/// <param name="Stride">Bytes from one layer's plane to the next.</param>
/// <param name="Bytes">Of one plane, a multiple of 16.</param>
/// <param name="Scale">Standard deviation of numbers.</param>
public readonly record struct RandomPlane(long Offset, long Stride, int Bytes, int Layers, RandomContent Content, float Scale);

/// <summary>Launcher of random_fill.cu: random weights and cache pages, made where they are needed.</summary>
public sealed class RandomFillKernel(KernelModule module)
{
    /// <summary>Standard deviation of the integers that are scaled: the sum of four uniform 16-bit numbers.</summary>
    public const float Deviation = 37837.227f;

    private readonly Kernel _bf16 = module.Get("fill_bf16");
    private readonly Kernel _pages = module.Get("fill_pages");

    public static KernelProgram Program() => KernelProgram.Create<Arguments>("random_fill.cu");

    /// <param name="y">[count] bf16</param>
    /// <param name="count">Even.</param>
    /// <param name="factor">Of the centred integer sums: the wanted deviation over <see cref="Deviation"/>.</param>
    public void Launch(CudaStream stream, DevicePtr<ushort> y, long count, uint seed, uint tensor, float factor)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(count);
        ArgumentOutOfRangeException.ThrowIfNotEqual(count % 2, 0, nameof(count));
        var arguments = new Arguments { Base = y.As<byte>(), Count = count, Seed = seed, Stream = tensor, Scale = factor };
        _bf16.Launch(stream, new Extent(checked((int)(((count / 2) + 255) / 256))), new Extent(256), 0, arguments);
    }

    /// <param name="arena">Where page offsets count from.</param>
    /// <param name="pages">[N] page offsets in 4-KiB units</param>
    public void LaunchPages(CudaStream stream, DevicePtr<byte> arena, DevicePtr<uint> pages, int count, RandomPlane plane, uint seed)
    {
        ArgumentOutOfRangeException.ThrowIfNotEqual(plane.Bytes % 16, 0, nameof(plane));
        if (plane.Bytes == 0)
        {
            return;
        }

        for (var first = 0; first < count; first += 65535)
        {
            var arguments = new Arguments
            {
                Base = arena,
                Pages = pages + first,
                Offset = plane.Offset,
                Stride = plane.Stride,
                Plane = plane.Bytes,
                Content = (int)plane.Content,
                Seed = seed,
                Stream = (uint)plane.Offset,
                Scale = plane.Scale / Deviation,
            };
            _pages.Launch(stream, new Extent((plane.Bytes + 4095) / 4096, Math.Min(65535, count - first), plane.Layers), new Extent(256), 0, arguments);
        }
    }

    private struct Arguments
    {
        public DevicePtr<byte> Base;
        public DevicePtr<uint> Pages;
        public long Count;
        public long Offset;
        public long Stride;
        public int Plane;
        public int Content;
        public uint Seed;
        public uint Stream;
        public float Scale;
    }
}
