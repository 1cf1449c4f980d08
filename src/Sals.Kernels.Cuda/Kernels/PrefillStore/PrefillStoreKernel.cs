using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Kernels.Shared;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.PrefillStore;

/// <summary>Launcher of prefill_store.cu: copies keys and values of one layer between a lane and the pages of a slot.</summary>
public sealed class PrefillStoreKernel(KernelModule module)
{
    private readonly Kernel _store = module.Get("prefill_store");
    private readonly Kernel _load = module.Get("prefill_load");
    private readonly Kernel _storeCodes = module.Get("prefill_store_int8");
    private readonly Kernel _loadCodes = module.Get("prefill_load_int8");

    public static KernelProgram Program(int headSize, int keyHeads) =>
        KernelProgram.Create<Arguments>("prefill_store.cu", ("DH", headSize), ("HK", keyHeads));

    /// <summary>pages[t] = lane[t] for first &lt;= t &lt; first + count.</summary>
    /// <param name="pageTable">[MAXP], the slot's row</param>
    /// <param name="layer">Where its planes lie in a page; with peaks these hold codes, which a load gives back as the bf16 nearest to what they stand for.</param>
    /// <param name="keys">[LANE, HK, DH] bf16, of token 0</param>
    /// <param name="values">[LANE, HK, DH] bf16, of token 0</param>
    public void LaunchStore(
        CudaStream stream, DevicePtr<uint> pageTable, DevicePtr<byte> pages, PlaneOffsets layer, DevicePtr<ushort> keys, DevicePtr<ushort> values, int first, int count) =>
        Launch(layer.Peaks == 0 ? _store : _storeCodes, stream, pageTable, pages, layer, keys, values, first, count);

    /// <summary>lane[t] = pages[t] for first &lt;= t &lt; first + count.</summary>
    public void LaunchLoad(
        CudaStream stream, DevicePtr<uint> pageTable, DevicePtr<byte> pages, PlaneOffsets layer, DevicePtr<ushort> keys, DevicePtr<ushort> values, int first, int count) =>
        Launch(layer.Peaks == 0 ? _load : _loadCodes, stream, pageTable, pages, layer, keys, values, first, count);

    private static void Launch(
        Kernel kernel,
        CudaStream stream,
        DevicePtr<uint> pageTable,
        DevicePtr<byte> pages,
        PlaneOffsets layer,
        DevicePtr<ushort> keys,
        DevicePtr<ushort> values,
        int first,
        int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(first);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(count);
        var arguments = new Arguments
        {
            PageTable = pageTable,
            Pages = pages,
            Keys = keys,
            Values = values,
            LayerOffset = checked((uint)layer.Keys),
            PeakOffset = checked((uint)layer.Peaks),
            First = first,
        };
        kernel.Launch(stream, new Extent(count), new Extent(128), 0, arguments);
    }

    private struct Arguments
    {
        public DevicePtr<uint> PageTable;
        public DevicePtr<byte> Pages;
        public DevicePtr<ushort> Keys;
        public DevicePtr<ushort> Values;
        public uint LayerOffset;
        public uint PeakOffset;
        public int First;
    }
}
