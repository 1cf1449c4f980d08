using System.IO.Pipelines;

namespace Sals.Server.Api;

/// <summary>
/// Sends what a response's pipe holds, and gives up a client that takes nothing: an answer that nobody reads would keep its place at the gate. Kestrel's
/// own least rate is no help there, since it allows for all that the socket's buffers took at once.
/// </summary>
public static class ResponseFlush
{
    /// <summary>How long one flush may wait for the client.</summary>
    public static readonly TimeSpan Limit = TimeSpan.FromSeconds(30);

    /// <exception cref="OperationCanceledException">The client is gone, or was given up.</exception>
    public static async ValueTask RunAsync(HttpContext context, TimeProvider time, CancellationToken cancel)
    {
        var flush = context.Response.BodyWriter.FlushAsync(cancel);
        var result = flush.IsCompletedSuccessfully ? flush.Result : await WaitAsync(context, flush.AsTask(), time, cancel);
        if (result.IsCompleted)
        {
            throw new OperationCanceledException("the client closed the connection");
        }
    }

    private static async Task<FlushResult> WaitAsync(HttpContext context, Task<FlushResult> flush, TimeProvider time, CancellationToken cancel)
    {
        try
        {
            return await flush.WaitAsync(Limit, time, cancel);
        }
        catch (TimeoutException)
        {
            context.Abort();
            throw new OperationCanceledException("the client does not read");
        }
    }
}
