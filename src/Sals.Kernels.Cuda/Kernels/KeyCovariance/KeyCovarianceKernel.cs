using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.KeyCovariance;

/// <summary>Launcher of key_covariance.cu: adds keys before rope, and their outer products, to sums in device memory.</summary>
public sealed class KeyCovarianceKernel
{
    private const int Tile = 64;

    private readonly Kernel _gather;
    private readonly Kernel _covariance;
    private readonly int _heads;
    private readonly int _tiles;

    /// <param name="width">D, HK * DH.</param>
    public KeyCovarianceKernel(KernelModule module, int keyHeads, int width)
    {
        _gather = module.Get("key_gather");
        _covariance = module.Get("key_covariance");
        _heads = keyHeads;
        var side = width / Tile;
        _tiles = side * (side + 1) / 2;
    }

    /// <param name="headSize">DH, 64 or 128.</param>
    /// <param name="keyHeads">HK, at most 32.</param>
    public static KernelProgram Program(int headSize, int queryHeads, int keyHeads) =>
        KernelProgram.Create<Arguments>("key_covariance.cu", ("DH", headSize), ("HQ", queryHeads), ("HK", keyHeads));

    /// <param name="qkv">[rows, stride] bf16 as the projection left it: queries, keys, values</param>
    /// <param name="norm">[DH] bf16 and its epsilon; a null pointer without a key norm</param>
    /// <param name="keys">[rows, D] bf16, overwritten</param>
    /// <param name="moment">[D, D]; tiles of 64 on and above the diagonal are added to</param>
    /// <param name="sum">[D], added to</param>
    public void Launch(
        CudaStream stream, DevicePtr<ushort> qkv, int stride, (DevicePtr<ushort> Gamma, float Epsilon) norm, DevicePtr<ushort> keys, DevicePtr<double> moment,
        DevicePtr<double> sum, int rows)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(rows);
        var arguments = new Arguments
        {
            Qkv = qkv,
            KeyGamma = norm.Gamma,
            Keys = keys,
            Moment = moment,
            Sum = sum,
            Stride = stride,
            RowCount = rows,
            Epsilon = norm.Epsilon,
        };
        _gather.Launch(stream, new Extent(rows), new Extent(32 * _heads), 0, arguments);
        _covariance.Launch(stream, new Extent(_tiles), new Extent(128), 0, arguments);
    }

    private struct Arguments
    {
        public DevicePtr<ushort> Qkv;
        public DevicePtr<ushort> KeyGamma;
        public DevicePtr<ushort> Keys;
        public DevicePtr<double> Moment;
        public DevicePtr<double> Sum;
        public int Stride;
        public int RowCount;
        public float Epsilon;
    }
}
