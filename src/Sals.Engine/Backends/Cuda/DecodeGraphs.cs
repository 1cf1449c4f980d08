using Sals.Kernels.Cuda.Runtime;

namespace Sals.Engine.Backends.Cuda;

/// <summary>The decode step of every bucket of rows and, with a compressed cache, every <see cref="RowKinds"/>: a captured graph each, or the same launches one by one.</summary>
internal sealed class DecodeGraphs : IDisposable
{
    private static readonly int[] Usual = [1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 160, 192, 224];

    private readonly CudaForward _forward;
    private readonly CudaStream _stream;
    private readonly CudaGraph?[][] _graphs;

    /// <param name="slots">Rows of the largest step.</param>
    public DecodeGraphs(CudaForward forward, CudaStream stream, int slots)
    {
        _forward = forward;
        _stream = stream;
        Buckets = BucketsUpTo(slots);
        _graphs = [.. (forward.Sparse is null ? [RowKinds.Exact] : Enum.GetValues<RowKinds>()).Select(_ => new CudaGraph?[Buckets.Length])];
    }

    /// <summary>Ascending; the last is the number of slots.</summary>
    public int[] Buckets { get; }

    public static int[] BucketsUpTo(int slots) =>
        [.. Usual.Where(b => b < slots), slots];

    /// <summary>The smallest bucket that holds <paramref name="rows"/>.</summary>
    public int BucketOf(int rows) => Buckets[IndexOf(rows)];

    /// <summary>Runs everything once, so that all code is loaded, and captures it if asked: nothing is captured later. The staged rows must all be padding.</summary>
    public void WarmUp(bool capture)
    {
        for (var i = Buckets.Length - 1; i >= 0; i--)
        {
            var rows = Buckets[i];
            for (var kinds = RowKinds.Exact; (int)kinds < _graphs.Length; kinds++)
            {
                var decoded = kinds;
                _forward.Decode(rows, decoded);
                _stream.Synchronize();
                if (capture)
                {
                    _graphs[(int)kinds][i] = _stream.Capture(() => _forward.Decode(rows, decoded));
                }
            }
        }
    }

    /// <param name="rows">Rows that were staged, without padding.</param>
    /// <param name="kinds">What they are, by their lengths on the device.</param>
    public void Run(int rows, RowKinds kinds)
    {
        var i = IndexOf(rows);
        if (_graphs[(int)kinds][i] is { } graph && _forward.Reader.Probe is null)
        {
            graph.Launch(_stream);
        }
        else
        {
            _forward.Decode(Buckets[i], kinds);
        }
    }

    public void Dispose()
    {
        foreach (var graph in _graphs.SelectMany(graphs => graphs))
        {
            graph?.Dispose();
        }
    }

    private int IndexOf(int rows)
    {
        var i = 0;
        while (Buckets[i] < rows)
        {
            i++;
        }

        return i;
    }
}
