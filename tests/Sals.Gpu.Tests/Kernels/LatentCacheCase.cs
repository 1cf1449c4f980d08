using System.Runtime.InteropServices;
using Sals.Engine.Backends.Cpu;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;
using Sals.Engine.Scheduling;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Gpu.Tests.Kernels;

/// <summary>
/// The cache of one compressed layer for rows of given lengths, once for the CPU reference and once on the device: random latents, packed values and exact
/// pages, scattered in the arena; every byte that no token owns is NaN. Row b depends on (seed, b) only.
/// </summary>
internal sealed class LatentCacheCase
{
    private const int P = PageLayout.PageSize;

    private readonly uint[] _latentTable;

    public LatentCacheCase(Gpu.Scope gpu, LatentCase settings, int[] lengths, int seed, int denseBelow = 0, int order = 0)
    {
        (Settings, Lengths, Seed) = (settings, lengths, seed);
        var longest = lengths.Max();
        Spec = settings.Spec with { DenseBelow = denseBelow };
        Shape = settings.Shape(longest) with { DenseBelow = denseBelow };
        Rope = new RopeTable(settings.Model.Rope, settings.HeadSize, longest + 1);
        Basis = RoundedBasis(settings, new Random(seed));
        var exact = new PageLayout(settings.Model, Spec, ElementType.Float32);
        Layout = new PageLayout(settings.Model, Spec, ElementType.BFloat16);
        var units = (int)(exact.HotPageBytes + exact.LatentPageBytes) / PageLayout.Unit;
        // slabs come into being as they are used
        Cpu = new CpuCache(exact, lengths.Length, longest, 1L << 36);
        var slabUnits = (int)(Cpu.SlabBytes / PageLayout.Unit);

        var pages = lengths.SelectMany((length, b) => Enumerable.Range(0, CacheTimeline.PagesOf(length)).Select(i => (b, i))).ToArray();
        var step = (int)(Layout.HotPageBytes + Layout.LatentPageBytes) / PageLayout.Unit;
        var places = Enumerable.Range(1, pages.Length).ToArray();
        new Random(order).Shuffle(places);
        var bytes = new byte[(long)(pages.Length + 1) * step * PageLayout.Unit];
        Array.Fill(bytes, (byte)0xFF);
        uint[] hotTable = new uint[(lengths.Length + 1) * Shape.MaxPages], latentTable = new uint[hotTable.Length];
        var randoms = lengths.Select((_, b) => new Random(seed + 1 + b)).ToArray();
        for (var n = 0; n < pages.Length; n++)
        {
            var (b, i) = pages[n];
            int length = lengths[b], at = places[n] * step;
            var onCpu = ((n + 1) / (slabUnits / units) * slabUnits) + ((n + 1) % (slabUnits / units) * units);
            if (CacheTimeline.NeedsHot(i, length, Spec))
            {
                Cpu.Apply(new PageEdit(PoolKind.Hot, b, i, onCpu));
                hotTable[(b * Shape.MaxPages) + i] = (uint)at;
                var latent = CacheTimeline.NeedsLatent(i, length, Spec);
                Exact(randoms[b], b, i, latent ? Spec.SinkTokens : Math.Min(P, length - (i * P)), bytes.AsSpan(at * PageLayout.Unit));
            }

            if (CacheTimeline.NeedsLatent(i, length, Spec))
            {
                var latentAt = at + (int)(Layout.HotPageBytes / PageLayout.Unit);
                latentTable[(b * Shape.MaxPages) + i] = (uint)latentAt;
                Cpu.Apply(new PageEdit(PoolKind.Latent, b, i, onCpu + (int)(exact.HotPageBytes / PageLayout.Unit)));
                var page = Cpu.Page(PoolKind.Latent, Cpu.Table(PoolKind.Latent, b)[i]);
                Latent(randoms[b], new LatentPlanes(page, exact, LatentCase.Layer));
                page.Slice((int)exact.ScoreOffset(LatentCase.Layer), exact.LatentLayerBytes)
                    .CopyTo(bytes.AsSpan((latentAt * PageLayout.Unit) + (int)Layout.ScoreOffset(LatentCase.Layer)));
            }
        }

        Pages = gpu.Upload<byte>(bytes);
        HotTable = gpu.Upload<uint>(hotTable);
        _latentTable = latentTable;
        LatentTable = gpu.Upload<uint>(latentTable);
        var image = BasisImage.Of(Basis.Vectors, settings.Int8 ? Basis.Scale : [], Basis.Mean, settings.HeadSize, settings.Groups, settings.ScoreRank);
        DeviceBasis = new DeviceBasis
        {
            Image = gpu.Upload<byte>(image.Bytes),
            Bias = gpu.Upload<float>(image.Bias),
            KeyScale = image.KeyScale,
            Mean = gpu.Upload<float>(Basis.Mean),
        };
    }

    public LatentCase Settings { get; }

    public int[] Lengths { get; }

    public int Seed { get; }

    public LatentSpec Spec { get; }

    public LatentShape Shape { get; }

    public PageLayout Layout { get; }

    public RopeTable Rope { get; }

    public LatentBasisLayer Basis { get; }

    public CpuCache Cpu { get; }

    public DevicePtr<byte> Pages { get; }

    public DevicePtr<uint> HotTable { get; }

    public DevicePtr<uint> LatentTable { get; }

    public DeviceBasis DeviceBasis { get; }

    /// <summary>Entry of the latent table: of a row's page, 0 where it has none.</summary>
    public uint LatentPage(int row, int page) => _latentTable[(row * Shape.MaxPages) + page];

    // U, times its scales for int8, [D, R]
    private static float[] Operand(LatentCase settings, LatentBasisLayer basis)
    {
        var matrix = new float[settings.Width * settings.Rank];
        for (var r = 0; r < settings.Rank; r++)
        {
            for (var d = 0; d < settings.Width; d++)
            {
                matrix[(d * settings.Rank) + r] = basis.Vectors[(r * settings.Width) + d] * (settings.Int8 ? basis.Scale[r] : 1);
            }
        }

        return matrix;
    }

    // vectors such that the device's matrix is theirs but for float32 rounding: the basis is an input here, its rounding no part of the kernel
    private static LatentBasisLayer RoundedBasis(LatentCase settings, Random random)
    {
        var basis = settings.Basis(new Inputs(random.Next()));
        var rounded = Bf16.Widen(Bf16.Narrow(Operand(settings, basis)));
        for (var r = 0; r < settings.Rank; r++)
        {
            for (var d = 0; d < settings.Width; d++)
            {
                basis.Vectors[(r * settings.Width) + d] = rounded[(d * settings.Rank) + r] / (settings.Int8 ? basis.Scale[r] : 1);
            }
        }

        return basis;
    }

    private static float Normal(Random random) => (float)(Math.Sqrt(-2 * Math.Log(1 - random.NextDouble())) * Math.Cos(2 * Math.PI * random.NextDouble()));

    private void Exact(Random random, int row, int page, int count, Span<byte> device)
    {
        Fill(Cpu.Keys(PoolKind.Hot, row, page, LatentCase.Layer), device[(int)Layout.KeyOffset(LatentCase.Layer)..]);
        Fill(Cpu.Values(PoolKind.Hot, row, page, LatentCase.Layer), device[(int)Layout.ValueOffset(LatentCase.Layer)..]);

        void Fill(Span<float> plane, Span<byte> to)
        {
            plane.Fill(float.NaN);
            for (var i = 0; i < count * Settings.Width; i++)
            {
                var bits = Bf16.Narrow(Normal(random));
                plane[i] = Bf16.Widen(bits);
                BitConverter.TryWriteBytes(to[(i * 2)..], bits);
            }
        }
    }

    private void Latent(Random random, in LatentPlanes planes)
    {
        Span<float> latent = stackalloc float[Spec.Rank];
        var values = new float[Settings.Width];
        for (var t = 0; t < P; t++)
        {
            for (var r = 0; r < latent.Length; r++)
            {
                latent[r] = Normal(random) * MathF.Sqrt(Basis.Eigenvalues[r]);
            }

            for (var d = 0; d < values.Length; d++)
            {
                values[d] = Normal(random);
            }

            LatentCodec.Store(latent[..Spec.ScoreRank], Spec.LatentFormat, Basis, 0, planes.Score(t));
            LatentCodec.Store(latent[Spec.ScoreRank..], Spec.LatentFormat, Basis, Spec.ScoreRank, planes.Rest(t));
            ValueQuantizer.Quantise(values, Spec.ValueBits, Spec.ValueGroup, planes.ValueCodes(t), planes.ValueScales(t));
        }
    }
}
