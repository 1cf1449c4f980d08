using Sals.Kernels.Cuda.Interop;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Compilation;

/// <summary>Machine code loaded into the current context.</summary>
public sealed unsafe class KernelModule : IDisposable
{
    private nint _handle;

    public KernelModule(CompiledProgram program)
    {
        fixed (byte* image = program.Cubin)
        {
            Check.Ok(Driver.cuModuleLoadDataEx(out _handle, image, 0, null, null));
        }
    }

    /// <param name="name">An extern "C" entry point.</param>
    public Kernel Get(string name)
    {
        Check.Ok(Driver.cuModuleGetFunction(out var function, _handle, name));
        return new Kernel(name, function);
    }

    /// <summary>An entry point that some architectures lack; null there.</summary>
    public Kernel? Find(string name) =>
        Driver.cuModuleGetFunction(out var function, _handle, name) == DriverStatus.Success ? new Kernel(name, function) : null;

    public void Dispose()
    {
        if (_handle != 0)
        {
            _ = Driver.cuModuleUnload(_handle);
            _handle = 0;
        }
    }
}
