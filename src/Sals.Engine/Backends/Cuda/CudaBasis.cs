using System.Runtime.InteropServices;
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
            _layers[layer] = new DeviceBasis(
                Put(spec.ReconstructInt8 ? MemoryMarshal.AsBytes<sbyte>(b.Codes.Values).ToArray() : MemoryMarshal.AsBytes<ushort>(Reconstruct(b, spec.LatentFormat == LatentFormat.Int8)).ToArray()),
                spec.ReconstructInt8 ? Put(b.Codes.Scales) : default,
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
            * ((spec.ReconstructInt8 ? DeviceArena.SizeOf<byte>(matrix) + DeviceArena.SizeOf<float>(ScaleCount(layout)) : DeviceArena.SizeOf<ushort>(matrix))
                + ((spec.Basis == BasisKind.Queries ? 2 : 1) * DeviceArena.SizeOf<ushort>(2 * matrix))
                + DeviceArena.SizeOf<float>(layout.KeyWidth)
                + (2 * DeviceArena.SizeOf<float>(spec.Rank))
                + (2 * DeviceArena.SizeOf<float>(spec.ScoreRank)));
    }

    public void Dispose() => _arena.Dispose();

    private static long ScaleCount(PageLayout layout) => (long)((layout.Spec.Rank + BasisCodes.Group - 1) / BasisCodes.Group) * layout.KeyWidth;

    private static ushort[] Packed(float[] rows, int width)
    {
        var packed = new ushort[2 * rows.Length];
        PackedProjection.Pack(rows, width, packed);
        return packed;
    }

    /// <summary>U [D, R] in bf16, columns scaled for latents that are codes.</summary>
    private static ushort[] Reconstruct(LatentBasisLayer basis, bool scaled)
    {
        var result = new ushort[basis.Width * basis.Rank];
        Parallel.For(0, basis.Width, d =>
        {
            for (var r = 0; r < basis.Rank; r++)
            {
                var value = basis.Vectors[(r * basis.Width) + d] * (scaled ? basis.Scale[r] : 1);
                var bits = BitConverter.SingleToUInt32Bits(value);
                result[(d * basis.Rank) + r] = (ushort)((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16);
            }
        });
        return result;
    }
}
