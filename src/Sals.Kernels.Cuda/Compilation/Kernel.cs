using Sals.Kernels.Cuda.Interop;
using Sals.Kernels.Cuda.Runtime;

namespace Sals.Kernels.Cuda.Compilation;

/// <summary>Blocks of a grid, or threads of a block.</summary>
public readonly record struct Extent(int X, int Y = 1, int Z = 1);

/// <summary>A loaded entry point and the one way to launch it: a single argument struct by value.</summary>
public sealed unsafe class Kernel
{
    private const int DefaultSharedLimit = 48 * 1024;
    private readonly nint _function;
    private int _dynamicLimit;

    internal Kernel(string name, nint function)
    {
        Name = name;
        _function = function;
        _dynamicLimit = DefaultSharedLimit - StaticSharedBytes;
        ComputeCapability = Read(FunctionAttribute.BinaryVersion);
    }

    public string Name { get; }

    /// <summary>
    /// Compiled for compute capability 9.0 or later: blocks form clusters (cluster.cuh) and launches overlap (chain.cuh).
    /// </summary>
    public bool HasClusters => ComputeCapability >= 90;

    /// <summary>That it was compiled for, such as 80.</summary>
    public int ComputeCapability { get; }

    public int Registers => Read(FunctionAttribute.Registers);

    /// <summary>Bytes of local memory a thread uses; 0 in a good kernel.</summary>
    public int LocalBytes => Read(FunctionAttribute.LocalBytes);

    /// <summary>Static shared memory of a block.</summary>
    public int StaticSharedBytes => Read(FunctionAttribute.SharedBytes);

    /// <summary>
    /// Raises the limit on dynamic shared memory, which with the static part is 48 KiB at first. Called once by launchers that may need
    /// more, never inside a capture.
    /// </summary>
    public void AllowShared(int bytes)
    {
        if (bytes > _dynamicLimit)
        {
            Check.Ok(Driver.cuFuncSetAttribute(_function, FunctionAttribute.MaxDynamicSharedBytes, bytes), $"cuFuncSetAttribute({Name}, {bytes} bytes shared)");
            _dynamicLimit = bytes;
        }
    }

    /// <summary>Blocks of this kernel that fit on a multiprocessor at once.</summary>
    public int BlocksPerMultiprocessor(int threads, int sharedBytes)
    {
        Check.Ok(Driver.cuOccupancyMaxActiveBlocksPerMultiprocessor(out var blocks, _function, threads, (nuint)sharedBytes));
        return blocks;
    }

    /// <summary>Enqueues one launch. Allocates nothing.</summary>
    /// <param name="overlap">
    /// It may begin before the launch ahead of it has ended, where the device can do that: for kernels that call wait_predecessor (chain.cuh).
    /// </param>
    public void Launch<TArguments>(CudaStream stream, Extent grid, Extent block, int sharedBytes, in TArguments arguments, bool overlap = false)
        where TArguments : unmanaged
    {
        if (stream.Filter is { } filter && !filter(Name))
        {
            return;
        }

        fixed (TArguments* pointer = &arguments)
        {
            void* parameter = pointer;
            var attribute = new LaunchAttribute { Id = LaunchAttribute.ProgrammaticStreamSerialization, Value = 1 };
            var config = new LaunchConfig
            {
                GridX = (uint)grid.X,
                GridY = (uint)grid.Y,
                GridZ = (uint)grid.Z,
                BlockX = (uint)block.X,
                BlockY = (uint)block.Y,
                BlockZ = (uint)block.Z,
                SharedBytes = (uint)sharedBytes,
                Stream = stream.Handle,
                Attributes = &attribute,
                AttributeCount = overlap && HasClusters ? 1u : 0u,
            };
            var status = Driver.cuLaunchKernelEx(&config, _function, &parameter, null);
            if (status != DriverStatus.Success)
            {
                // the text is built only when it is needed: this is the hot path
                Check.Ok(status, $"{Name}<<<({grid.X},{grid.Y},{grid.Z}), ({block.X},{block.Y},{block.Z}), {sharedBytes}>>>");
            }
        }
    }

    private int Read(FunctionAttribute attribute)
    {
        Check.Ok(Driver.cuFuncGetAttribute(out var value, attribute, _function));
        return value;
    }
}
