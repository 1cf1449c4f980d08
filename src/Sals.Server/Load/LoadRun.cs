using System.Diagnostics;

namespace Sals.Server.Load;

/// <summary>Sends the requests when they are due and waits for all of them.</summary>
public sealed class LoadRun
{
    private readonly LoadOptions _options;
    private readonly LoadClient _client;
    private readonly Lock _lock = new();
    private readonly List<LoadResult> _results = [];
    private int _sent;

    public LoadRun(LoadOptions options, LoadClient client)
    {
        _options = options;
        _client = client;
    }

    public int Sent => Volatile.Read(ref _sent);

    /// <summary>Ended requests so far.</summary>
    public LoadResult[] Results
    {
        get
        {
            lock (_lock)
            {
                return [.. _results];
            }
        }
    }

    public (int Completed, int Failed, long OutputTokens) Counts
    {
        get
        {
            lock (_lock)
            {
                return (_results.Count(result => result.Failure is null), _results.Count(result => result.Failure is not null), _results.Sum(result => (long)result.OutputTokens));
            }
        }
    }

    /// <returns>Seconds from the first arrival to the last answer.</returns>
    /// <exception cref="LoadException">The warm-up failed.</exception>
    public async Task<double> RunAsync(string model, CancellationToken cancel)
    {
        var prompts = new LoadPrompts(_options, model);
        for (var i = 1; i <= _options.Warmups; i++)
        {
            var trial = new LoadResult { Number = -i, Due = 0 };
            await _client.SendAsync(trial, prompts.Body(-i), Stopwatch.GetTimestamp(), cancel);
            if (trial.Failure is not null && !cancel.IsCancellationRequested)
            {
                throw new LoadException($"The first request failed: {trial.Failure}: {trial.Detail}");
            }
        }

        // a random source of its own: lengths must not change with the rate
        var schedule = Arrivals.Schedule(_options.Requests, _options.RequestRate, _options.Burstiness, new Random(unchecked((int)_options.Seed ^ 0x5A15)));
        using var places = new SemaphoreSlim(_options.MaxConcurrency ?? int.MaxValue);
        var closed = double.IsPositiveInfinity(_options.RequestRate);
        var tasks = new List<Task>(schedule.Length);
        var start = Stopwatch.GetTimestamp();
        try
        {
            for (var i = 0; i < schedule.Length; i++)
            {
                var body = prompts.Body(i);
                if (!closed)
                {
                    await UntilAsync(start, schedule[i], cancel);
                }

                // asked for here, so that places are given in the order in which requests are due
                var place = places.WaitAsync(cancel);
                if (closed)
                {
                    await place;
                }

                var result = new LoadResult { Number = i, Due = closed ? Stopwatch.GetElapsedTime(start).TotalSeconds : schedule[i] };
                tasks.Add(Task.Run(() => OneAsync(result, body, start, place, places, cancel), CancellationToken.None));
            }
        }
        catch (OperationCanceledException)
        {
            // stopped: what was sent is told and counted
        }

        await Task.WhenAll(tasks);
        return Stopwatch.GetElapsedTime(start).TotalSeconds;
    }

    private async Task OneAsync(LoadResult result, byte[] body, long start, Task place, SemaphoreSlim places, CancellationToken cancel)
    {
        try
        {
            await place;
        }
        catch (OperationCanceledException)
        {
            return;
        }

        Interlocked.Increment(ref _sent);
        await _client.SendAsync(result, body, start, cancel);
        places.Release();
        lock (_lock)
        {
            _results.Add(result);
        }
    }

    private static async Task UntilAsync(long start, double seconds, CancellationToken cancel)
    {
        var left = TimeSpan.FromSeconds(seconds) - Stopwatch.GetElapsedTime(start);
        if (left > TimeSpan.Zero)
        {
            await Task.Delay(left, cancel);
        }

        cancel.ThrowIfCancellationRequested();
    }
}
