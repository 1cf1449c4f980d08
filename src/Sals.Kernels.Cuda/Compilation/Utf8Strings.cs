using System.Runtime.InteropServices;

namespace Sals.Kernels.Cuda.Compilation;

/// <summary>An array of zero-terminated strings in native memory, as C calls want it.</summary>
internal sealed unsafe class Utf8Strings : IDisposable
{
    public Utf8Strings(IReadOnlyList<string> strings)
    {
        Count = strings.Count;
        Pointers = (byte**)NativeMemory.AllocZeroed((nuint)Math.Max(1, Count), (nuint)sizeof(byte*));
        for (var i = 0; i < Count; i++)
        {
            Pointers[i] = (byte*)Marshal.StringToCoTaskMemUTF8(strings[i]);
        }
    }

    public int Count { get; }

    public byte** Pointers { get; private set; }

    public void Dispose()
    {
        if (Pointers is null)
        {
            return;
        }

        for (var i = 0; i < Count; i++)
        {
            Marshal.FreeCoTaskMem((nint)Pointers[i]);
        }

        NativeMemory.Free(Pointers);
        Pointers = null;
    }
}
