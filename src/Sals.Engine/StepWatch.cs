using Sals.Engine.Backends;
using Sals.Engine.Scheduling;

namespace Sals.Engine;

/// <summary>
/// A backend whose calls are timed, since a hung device never comes back from one. While a call runs, another thread may give the engine thread up; from
/// then on the loop's state is that thread's, and the engine thread, should its call return after all, gets an <see cref="AbandonedException"/>.
/// </summary>
internal sealed class StepWatch(IStepBackend backend, TimeProvider time)
{
    private const long Outside = 0;
    private const long GivenUp = -1;

    // when the call at hand began, made odd so that it is never Outside
    private long _entered;

    public BackendInfo Info => backend.Info;

    public long WaitedTicks => backend.WaitedTicks;

    /// <summary>The engine thread was given up: it may still be in the backend, which must not be disposed, nor what it reads.</summary>
    public bool IsAbandoned => Volatile.Read(ref _entered) == GivenUp;

    public StepTicket Submit(StepPlan plan)
    {
        Enter();
        try
        {
            return backend.Submit(plan);
        }
        finally
        {
            Leave();
        }
    }

    public void Collect(StepTicket ticket, StepResult result)
    {
        Enter();
        try
        {
            backend.Collect(ticket, result);
        }
        finally
        {
            Leave();
        }
    }

    /// <summary>Any thread.</summary>
    /// <returns>True, once, when a call has taken longer than <paramref name="limit"/> and is given up.</returns>
    public bool TryGiveUp(TimeSpan limit)
    {
        var entered = Volatile.Read(ref _entered);
        return entered is not (Outside or GivenUp)
            && time.GetElapsedTime(entered) > limit
            && Interlocked.CompareExchange(ref _entered, GivenUp, entered) == entered;
    }

    private void Enter() => Volatile.Write(ref _entered, time.GetTimestamp() | 1);

    private void Leave()
    {
        var entered = _entered;
        if (entered == GivenUp || Interlocked.CompareExchange(ref _entered, Outside, entered) != entered)
        {
            throw new AbandonedException();
        }
    }

    /// <summary>On the engine thread: its state is no longer its own.</summary>
    internal sealed class AbandonedException : Exception;
}
