using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.Rope;

/// <summary>Launcher of rope.cu: norms and rotates queries and keys, and stores keys and values in pages (decode) or a lane (prefill).</summary>
public sealed class RopeKernel
{
    private const int HeadsPerBlock = 4;
    private readonly Kernel _append;
    private readonly Kernel _appendCodes;
    private readonly Kernel _lane;
    private readonly int _heads;
    private readonly int _width;

    /// <param name="heads">Query, key and value heads together: HQ + 2 HK.</param>
    /// <param name="headSize">DH</param>
    public RopeKernel(KernelModule module, int heads, int headSize)
    {
        _append = module.Get("rope_append");
        _appendCodes = module.Get("rope_append_int8");
        _lane = module.Get("rope_lane");
        _heads = heads;
        _width = heads * headSize;
    }

    /// <param name="headSize">DH, 64 or 128.</param>
    /// <param name="maxPages">Entries of a page table row.</param>
    public static KernelProgram Program(int headSize, int queryHeads, int keyHeads, int maxPages) =>
        KernelProgram.Create<Arguments>("rope.cu", ("DH", headSize), ("HQ", queryHeads), ("HK", keyHeads), ("MAXP", maxPages));

    /// <summary>Decode: row b is at position[b] of slot[b], whose page takes its key and value.</summary>
    /// <param name="qkv">[B, stride] bf16; the query part is rotated in place</param>
    /// <param name="stride">Elements of a row, at least (HQ + 2 HK) DH.</param>
    /// <param name="norms">[DH] bf16 each, or null pointers</param>
    /// <param name="table">[MAX_POSITION, DH / 2] (cos, sin)</param>
    /// <param name="pageTable">[SLOTS + 1, MAXP]</param>
    /// <param name="pages">Cache arena; page ids count units of 4 KiB from here.</param>
    /// <param name="layer">Where its planes lie in a page.</param>
    public void LaunchAppend(
        CudaStream stream,
        DevicePtr<ushort> qkv,
        int stride,
        (DevicePtr<ushort> Query, DevicePtr<ushort> Key, float Epsilon) norms,
        DevicePtr<float> table,
        DevicePtr<int> position,
        DevicePtr<int> slot,
        DevicePtr<uint> pageTable,
        DevicePtr<byte> pages,
        PlaneOffsets layer,
        int rows)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(rows);
        ArgumentOutOfRangeException.ThrowIfLessThan(stride, _width);
        var arguments = new Arguments
        {
            Qkv = qkv,
            Stride = stride,
            QueryGamma = norms.Query,
            KeyGamma = norms.Key,
            Table = table,
            Position = position,
            Slot = slot,
            PageTable = pageTable,
            Pages = pages,
            LayerOffset = checked((uint)layer.Keys),
            PeakOffset = checked((uint)layer.Peaks),
            Epsilon = norms.Epsilon,
        };
        (layer.Peaks == 0 ? _append : _appendCodes).Launch(stream, Grid(rows), new Extent(32 * HeadsPerBlock), 0, arguments, overlap: true);
    }

    /// <summary>Prefill: row i is token <paramref name="firstPosition"/> + i of the prompt whose lane part begins at keys and values.</summary>
    /// <param name="keys">[LANE, HK, DH] bf16, of token 0</param>
    /// <param name="values">[LANE, HK, DH] bf16, of token 0</param>
    public void LaunchLane(
        CudaStream stream,
        DevicePtr<ushort> qkv,
        (DevicePtr<ushort> Query, DevicePtr<ushort> Key, float Epsilon) norms,
        DevicePtr<float> table,
        DevicePtr<ushort> keys,
        DevicePtr<ushort> values,
        int firstPosition,
        int rows)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(rows);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(rows, 65535);
        ArgumentOutOfRangeException.ThrowIfNegative(firstPosition);
        var arguments = new Arguments
        {
            Qkv = qkv,
            QueryGamma = norms.Query,
            KeyGamma = norms.Key,
            Table = table,
            Keys = keys,
            Values = values,
            FirstPosition = firstPosition,
            Stride = _width,
            Epsilon = norms.Epsilon,
        };
        _lane.Launch(stream, Grid(rows), new Extent(32 * HeadsPerBlock), 0, arguments, overlap: true);
    }

    private Extent Grid(int rows) => new((_heads + HeadsPerBlock - 1) / HeadsPerBlock, rows);

    private struct Arguments
    {
        public DevicePtr<ushort> Qkv;
        public DevicePtr<ushort> QueryGamma;
        public DevicePtr<ushort> KeyGamma;
        public DevicePtr<float> Table;
        public DevicePtr<int> Position;
        public DevicePtr<int> Slot;
        public DevicePtr<uint> PageTable;
        public DevicePtr<byte> Pages;
        public DevicePtr<ushort> Keys;
        public DevicePtr<ushort> Values;
        public uint LayerOffset;
        public uint PeakOffset;
        public int FirstPosition;
        public int Stride;
        public float Epsilon;
    }
}
