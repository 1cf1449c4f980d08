using Sals.Engine.Latent;
using Sals.Engine.Paging;
using Sals.Kernels.Cuda.Kernels.FlushPages;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>The latent bases of all compressed layers in device memory, in the forms that the kernels read.</summary>
internal sealed class CudaBasis : IDisposable
{
    private readonly DeviceArena _arena;
    private readonly DeviceBasis[] _layers;
    private readonly DevicePtr<ushort>[] _scoring;
    private readonly int[] _sparse;

    public CudaBasis(CudaStream stream, PageLayout layout, LatentBasis basis)
    {
        var spec = layout.Spec;
        _arena = new DeviceArena("latent bases", BytesOf(layout));
        _layers = new DeviceBasis[spec.LayerCount];
        _scoring = new DevicePtr<ushort>[spec.LayerCount];
        _sparse = spec.SparseLayers;
        var flushed = new List<FlushedLayer>();
        foreach (var layer in _sparse)
        {
            var b = basis.Layer(layer);
            var projection = Put(Packed(b.Projection, b.Width));
            _scoring[layer] = ReferenceEquals(b.Vectors, b.Projection) ? projection : Put(Packed(b.Vectors, b.Width));
            var image = BasisImage.Of(b.Vectors, spec.LatentFormat == LatentFormat.Int8 ? b.Scale : [], b.Mean, layout.HeadSize, spec.BasisGroups, spec.ScoreRank);
            _layers[layer] = new DeviceBasis(
                Put(image.Bytes),
                Put(image.Bias),
                image.KeyScale,
                projection,
                Put(b.Mean),
                Put(b.Scale),
                Put(b.InverseScale),
                Put(b.LatentMean[..spec.ScoreRank]),
                Put(b.LatentVariance[..spec.ScoreRank]));
            flushed.Add(FlushedLayer.Of(_layers[layer], b.Eigenvalues, b.Width, layout.KeyOffset(layer), layout.ScoreOffset(layer)));
        }

        FlushedLayers = Put<FlushedLayer>([.. flushed]);

        DevicePtr<T> Put<T>(T[] values)
            where T : unmanaged
        {
            var start = _arena.Take<T>(values.Length);
            stream.Upload<T>(values, start);
            return start;
        }
    }

    /// <summary>Of a compressed layer.</summary>
    public DeviceBasis this[int layer] => _layers[layer];

    /// <summary>What projects the scoring query of a model that norms its queries, packed as the keys' projection is.</summary>
    public DevicePtr<ushort> Scoring(int layer) => _scoring[layer];

    /// <summary>[compressed layers], ascending, as the flush sees them.</summary>
    public DevicePtr<FlushedLayer> FlushedLayers { get; }

    public int LayerCount => _sparse.Length;

    /// <summary>Entry of one compressed layer in <see cref="FlushedLayers"/>.</summary>
    public DevicePtr<FlushedLayer> Flushed(int layer) => FlushedLayers + Array.BinarySearch(_sparse, layer);

    /// <summary>Device memory that the bases take.</summary>
    public static long BytesOf(PageLayout layout)
    {
        var spec = layout.Spec;
        var matrix = (long)layout.KeyWidth * spec.Rank;
        return DeviceArena.SizeOf<FlushedLayer>(spec.SparseLayers.Length) + spec.SparseLayers.Length
            * (DeviceArena.SizeOf<byte>(BasisImage.BytesOf(layout.KeyWidth / layout.HeadSize, layout.HeadSize, spec.GroupRank))
                + ((spec.Basis == BasisKind.Queries ? 2 : 1) * DeviceArena.SizeOf<ushort>(2 * matrix))
                + (2 * DeviceArena.SizeOf<float>(layout.KeyWidth))
                + (2 * DeviceArena.SizeOf<float>(spec.Rank))
                + (2 * DeviceArena.SizeOf<float>(spec.ScoreRank)));
    }

    public void Dispose() => _arena.Dispose();

    private static ushort[] Packed(float[] rows, int width)
    {
        var packed = new ushort[2 * rows.Length];
        PackedProjection.Pack(rows, width, packed);
        return packed;
    }
}
