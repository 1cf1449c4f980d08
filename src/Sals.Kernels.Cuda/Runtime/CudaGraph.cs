using Sals.Kernels.Cuda.Interop;

namespace Sals.Kernels.Cuda.Runtime;

/// <summary>An executable graph: the launches of one captured run, replayed with one call.</summary>
public sealed class CudaGraph : IDisposable
{
    private nint _executable;

    // takes the captured graph over
    internal CudaGraph(nint graph, CudaStream stream)
    {
        try
        {
            Check.Ok(Driver.cuGraphInstantiateWithFlags(out _executable, graph, 0));
            Check.Ok(Driver.cuGraphUpload(_executable, stream.Handle));
        }
        finally
        {
            _ = Driver.cuGraphDestroy(graph);
        }
    }

    public void Launch(CudaStream stream) => Check.Ok(Driver.cuGraphLaunch(_executable, stream.Handle));

    public void Dispose()
    {
        if (_executable != 0)
        {
            _ = Driver.cuGraphExecDestroy(_executable);
            _executable = 0;
        }
    }
}
