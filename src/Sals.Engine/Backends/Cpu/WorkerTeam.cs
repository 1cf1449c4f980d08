namespace Sals.Engine.Backends.Cpu;

/// <summary>
/// The CPU backend's threads: the engine thread and count - 1 workers that share the chunks of one operation at a time. A step has
/// about a hundred operations of 20 to 500 microseconds, too short for Parallel.For; here starting one costs a few hundred
/// nanoseconds, because workers spin briefly between operations and only sleep between steps. Nothing is allocated by a run.
/// </summary>
/// <remarks>
/// The ticket holds (run, chunks, next chunk) in one word, so that a claim by increment tells at once whether it is still valid: a
/// worker that comes late finds the chunks gone and is not waited for. The body field is stable while any chunk is unfinished.
/// </remarks>
internal sealed class WorkerTeam : IDisposable
{
    private const int NextBits = 24;
    private const ulong NextMask = (1UL << NextBits) - 1;

    // about 100 microseconds of waiting for the next operation before a worker sleeps
    private const int SpinsBeforeSleep = 2000;

    private readonly Thread[] _threads;
    private readonly SemaphoreSlim _wake = new(0);
    private Action<int, int> _body = (_, _) => { };
    private Exception? _failure;
    private ulong _ticket;
    private int _done;
    private int _sleeping;
    private volatile bool _stop;

    /// <param name="count">Threads that compute, the caller's included; at least 1.</param>
    public WorkerTeam(int count)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(count, 1);
        Count = count;
        _threads = new Thread[count - 1];
        for (var i = 0; i < _threads.Length; i++)
        {
            var worker = i + 1;
            _threads[i] = new Thread(() => Work(worker)) { IsBackground = true, Name = $"sals-cpu-{worker}" };
            _threads[i].Start();
        }
    }

    /// <summary>Threads that compute; worker numbers are 0 .. Count - 1 and 0 is the caller.</summary>
    public int Count { get; }

    /// <summary>Runs body(chunk, worker) for every chunk and returns when all are done. Called by one thread.</summary>
    /// <param name="chunks">0 .. 2^24 - 1, in no promised order.</param>
    /// <param name="body">A delegate that the caller keeps; making one per call would allocate.</param>
    public void Run(int chunks, Action<int, int> body)
    {
        if (_threads.Length == 0 || chunks <= 1)
        {
            for (var i = 0; i < chunks; i++)
            {
                body(i, 0);
            }

            return;
        }

        ArgumentOutOfRangeException.ThrowIfGreaterThan((ulong)chunks, NextMask);
        _body = body;
        _done = 0;
        var run = (_ticket >> (2 * NextBits)) + 1;
        Interlocked.Exchange(ref _ticket, (run << (2 * NextBits)) | ((ulong)chunks << NextBits));
        var sleeping = Volatile.Read(ref _sleeping);
        if (sleeping > 0)
        {
            _wake.Release(sleeping);
        }

        Drain(0);
        var spin = new SpinWait();
        while (Volatile.Read(ref _done) != chunks)
        {
            spin.SpinOnce(sleep1Threshold: -1);
        }

        if (_failure is { } failure)
        {
            _failure = null;
            throw new InvalidOperationException("An operation failed on a worker thread.", failure);
        }
    }

    public void Dispose()
    {
        _stop = true;
        _wake.Release(Count);
        foreach (var thread in _threads)
        {
            thread.Join();
        }

        _wake.Dispose();
    }

    private void Work(int worker)
    {
        var spins = 0;
        while (!_stop)
        {
            if (Drain(worker))
            {
                spins = 0;
            }
            else if (++spins < SpinsBeforeSleep)
            {
                Thread.SpinWait(8);
            }
            else
            {
                Interlocked.Increment(ref _sleeping);

                // looked at again after announcing the sleep, so that a run that started in between is not missed
                if (!HasChunk(Volatile.Read(ref _ticket)) && !_stop)
                {
                    _wake.Wait();
                }

                Interlocked.Decrement(ref _sleeping);
                spins = 0;
            }
        }
    }

    private bool Drain(int worker)
    {
        var worked = false;
        while (HasChunk(Volatile.Read(ref _ticket)))
        {
            var claim = Interlocked.Increment(ref _ticket) - 1;
            if (!HasChunk(claim))
            {
                break;
            }

            try
            {
                _body((int)(claim & NextMask), worker);
            }
            catch (Exception e)
            {
                _failure = e;
            }

            worked = true;
            Interlocked.Increment(ref _done);
        }

        return worked;
    }

    private static bool HasChunk(ulong ticket) => (ticket & NextMask) < ((ticket >> NextBits) & NextMask);
}
