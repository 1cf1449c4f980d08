using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.PrefillAttend;

/// <summary>Launcher of prefill_attend.cu: causal attention of a slice of one prompt over its lane.</summary>
public sealed class PrefillAttendKernel
{
    private const int Queries = 128;
    private const int Threads = 256;

    private readonly Kernel _kernel;
    private readonly int _sharedBytes;
    private readonly int _queryHeads;
    private readonly float _scale;

    public PrefillAttendKernel(KernelModule module, int headSize, int queryHeads)
    {
        // rows of queries, keys and values that are held: two rounds of 128 keys with warpgroups, one of 64 without
        var warpgroup = module.Find("prefill_attend_warpgroup");
        _kernel = warpgroup ?? module.Get("prefill_attend");
        _sharedBytes = (Queries + (2 * (warpgroup is null ? 64 : 256))) * headSize * sizeof(ushort);
        _kernel.AllowShared(_sharedBytes);
        _queryHeads = queryHeads;
        _scale = (float)(Math.Log2(Math.E) / Math.Sqrt(headSize));
    }

    /// <param name="headSize">DH, 64 or 128.</param>
    public static KernelProgram Program(int headSize, int queryHeads, int keyHeads) =>
        KernelProgram.Create<Arguments>("prefill_attend.cu", ("DH", headSize), ("HQ", queryHeads), ("HK", keyHeads));

    /// <param name="qkv">[T, (HQ + 2 HK) DH] bf16, queries after rope</param>
    /// <param name="keys">[first + T, HK, DH] bf16, of token 0</param>
    /// <param name="values">[first + T, HK, DH] bf16, of token 0</param>
    /// <param name="o">[T, HQ, DH] bf16</param>
    /// <param name="first">Position of the first query in its prompt.</param>
    /// <param name="tokens">T</param>
    public void Launch(
        CudaStream stream, DevicePtr<ushort> qkv, DevicePtr<ushort> keys, DevicePtr<ushort> values, DevicePtr<ushort> o, int first, int tokens)
    {
        ArgumentOutOfRangeException.ThrowIfNegative(first);
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(tokens);
        var arguments = new Arguments { Qkv = qkv, Keys = keys, Values = values, O = o, Tokens = tokens, First = first, Scale = _scale };
        _kernel.Launch(stream, new Extent(_queryHeads, (tokens + Queries - 1) / Queries), new Extent(Threads), _sharedBytes, arguments);
    }

    private struct Arguments
    {
        public DevicePtr<ushort> Qkv;
        public DevicePtr<ushort> Keys;
        public DevicePtr<ushort> Values;
        public DevicePtr<ushort> O;
        public int Tokens;
        public int First;
        public float Scale;
    }
}
