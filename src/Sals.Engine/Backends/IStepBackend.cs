using Sals.Engine.Scheduling;

namespace Sals.Engine.Backends;

/// <summary>
/// Runs whole model steps. Owns weights, cache bytes and every device resource; knows nothing of requests.
/// Called by one thread. The rules every implementation keeps are facts of <c>StepBackendContract</c> in the tests:
/// a row's result does not depend on the other rows; a sampled token is the slot's next input without host help; Submit never
/// waits for the device and at most two tickets are outstanding, collected in order; only pages named in the plan are touched;
/// positions past a row's length are never read; after a fault every later call faults.
/// </summary>
public interface IStepBackend : IDisposable
{
    BackendInfo Info { get; }

    /// <summary>Stopwatch ticks that all calls so far have waited for the device; 0 where this thread computes.</summary>
    long WaitedTicks => 0;

    /// <summary>Enqueues a step and returns. The plan may be reused once the ticket has been collected.</summary>
    /// <exception cref="EngineFaultException">The device is lost; now and on every later call.</exception>
    StepTicket Submit(StepPlan plan);

    /// <summary>Waits for that step and reads its samples into <paramref name="result"/>.</summary>
    /// <exception cref="EngineFaultException">The device is lost; now and on every later call.</exception>
    void Collect(StepTicket ticket, StepResult result);
}

/// <summary>Names a submitted step; the first is 1.</summary>
public readonly record struct StepTicket(long Id);
