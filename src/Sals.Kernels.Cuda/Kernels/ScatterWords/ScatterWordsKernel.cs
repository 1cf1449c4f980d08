using Sals.Kernels.Cuda.Compilation;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Kernels.ScatterWords;

/// <summary>One word to be written; 16 bytes, the last four unused.</summary>
public readonly record struct ScatteredWord(DevicePtr<uint> Address, uint Value);

/// <summary>Launcher of scatter_words.cu: writes single words that the host decided.</summary>
public sealed class ScatterWordsKernel(KernelModule module)
{
    private readonly Kernel _kernel = module.Get("scatter_words");

    public static KernelProgram Program() => KernelProgram.Create<Arguments>("scatter_words.cu");

    /// <param name="words">[N]; an address that comes twice comes with one value</param>
    public void Launch(CudaStream stream, DevicePtr<ScatteredWord> words, int count)
    {
        ArgumentOutOfRangeException.ThrowIfNegativeOrZero(count);
        var arguments = new Arguments { Words = words, Count = count };
        _kernel.Launch(stream, new Extent((count + 255) / 256), new Extent(256), 0, arguments);
    }

    private struct Arguments
    {
        public DevicePtr<ScatteredWord> Words;
        public int Count;
    }
}
