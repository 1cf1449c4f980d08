using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.FlushPages;

/// <summary>One page to compress; pages in units of 4 KiB.</summary>
/// <param name="FirstPosition">Position of the page's first token.</param>
public readonly record struct FlushedPage(uint HotPage, uint LatentPage, int FirstPosition, int Unused);

/// <summary>One compressed layer as the kernel sees it, 48 bytes.</summary>
/// <param name="Projection">[2, R, D] fp16, see <see cref="PackedProjection.Pack"/></param>
/// <param name="Mean">[D]</param>
/// <param name="InverseScale">[R]; not read with bf16 latents</param>
/// <param name="HotOffset">Byte offset of the layer's K plane in a hot page.</param>
/// <param name="LatentOffset">Byte offset of the layer's score plane in a latent page.</param>
/// <param name="KeyScale">See <see cref="PackedProjection.KeyScale"/>.</param>
/// <param name="Unscale">1 / (KeyScale * PackedProjection.Scale(D))</param>
public readonly record struct FlushedLayer(
    DevicePtr<ushort> Projection, DevicePtr<float> Mean, DevicePtr<float> InverseScale, long HotOffset, long LatentOffset, float KeyScale, float Unscale)
{
    /// <param name="eigenvalues">[R], of the layer's basis; give the scale of its keys</param>
    /// <param name="keyWidth">D</param>
    /// <param name="hotOffset">PageLayout.KeyOffset</param>
    /// <param name="latentOffset">PageLayout.ScoreOffset</param>
    public static FlushedLayer Of(in DeviceBasis basis, ReadOnlySpan<float> eigenvalues, int keyWidth, long hotOffset, long latentOffset)
    {
        var scale = PackedProjection.KeyScale(eigenvalues, keyWidth);
        return new(basis.Projection, basis.Mean, basis.InverseScale, hotOffset, latentOffset, scale, 1 / (scale * PackedProjection.Scale(keyWidth)));
    }
}

/// <summary>Launcher of flush_pages.cu: compresses hot pages that leave the window, or pages of a prefill lane.</summary>
public sealed class FlushPagesKernel
{
    private const int Threads = 256;
    private const int Tile = 64;
    private readonly Kernel _pages;
    private readonly Kernel _lane;
    private readonly int _sharedBytes;
    private readonly int _tiles;

    public FlushPagesKernel(KernelModule module, LatentShape shape)
    {
        _pages = module.Get("flush_pages");
        _lane = module.Get("flush_lane");
        _sharedBytes = 2 * (64 + Tile) * shape.HeadSize * sizeof(ushort);
        _pages.AllowShared(_sharedBytes);
        _lane.AllowShared(_sharedBytes);

        // and one for the values
        _tiles = ((shape.Rank + Tile - 1) / Tile) + 1;
    }

    public static KernelProgram Program(LatentShape shape) => KernelProgram.Create<Arguments>("flush_pages.cu", shape.Defines());

    /// <summary>Compresses hot pages in every compressed layer. The hot pages are complete and are left as they are.</summary>
    /// <param name="list">[count]</param>
    /// <param name="layers">[layerCount], on the device</param>
    /// <param name="rope">[positions, DH / 2] (cos, sin)</param>
    /// <param name="pages">Cache arena; page ids count units of 4 KiB from here.</param>
    public void Launch(CudaStream stream, DevicePtr<FlushedPage> list, int count, DevicePtr<FlushedLayer> layers, int layerCount, DevicePtr<float> rope, DevicePtr<byte> pages)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(count);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(layerCount);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(layerCount, 65535);
        var arguments = new Arguments { List = list, Layers = layers, Rope = rope, Pages = pages };
        _pages.Launch(stream, new Extent(count, _tiles, layerCount), new Extent(Threads), _sharedBytes, arguments);
    }

    /// <summary>Compresses pages [firstPage, firstPage + pageCount) of a prompt in one layer, from its lane.</summary>
    /// <param name="keys">[LANE, HK, DH] bf16 after rope, of token 0</param>
    /// <param name="values">[LANE, HK, DH] bf16, of token 0</param>
    /// <param name="table">[MAXP], the slot's row of the latent page table</param>
    /// <param name="layer">The layer's entry, on the device.</param>
    public void LaunchLane(
        CudaStream stream,
        DevicePtr<ushort> keys,
        DevicePtr<ushort> values,
        DevicePtr<uint> table,
        int firstPage,
        int pageCount,
        DevicePtr<FlushedLayer> layer,
        DevicePtr<float> rope,
        DevicePtr<byte> pages)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(firstPage);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(pageCount);
        var arguments = new Arguments { Keys = keys, Values = values, Table = table, Layers = layer, Rope = rope, Pages = pages, FirstPage = firstPage };
        _lane.Launch(stream, new Extent(pageCount, _tiles), new Extent(Threads), _sharedBytes, arguments);
    }

    private struct Arguments
    {
        public DevicePtr<FlushedPage> List;
        public DevicePtr<ushort> Keys;
        public DevicePtr<ushort> Values;
        public DevicePtr<uint> Table;
        public DevicePtr<FlushedLayer> Layers;
        public DevicePtr<float> Rope;
        public DevicePtr<byte> Pages;
        public int FirstPage;
    }
}
