using System.Collections.Concurrent;
using Sals.Engine.Backends;
using Sals.Engine.Scheduling;

namespace Sals.Engine;

/// <summary>
/// The engine thread's program: drain commands, plan, submit, collect, commit. Owns the live generations; everything it touches is touched
/// by no other thread, but for the command queue.
/// </summary>
internal sealed class EngineLoop
{
    private readonly StepWatch _backend;
    private readonly Scheduler _scheduler;
    private readonly EngineStats _stats;
    private readonly TimeProvider _time;
    private readonly ConcurrentQueue<EngineCommand> _commands;
    private readonly AutoResetEvent _wake;
    private readonly Dictionary<GenerationHandle, Generation> _live = [];
    private readonly PlannedStep[] _steps;
    private readonly Queue<(PlannedStep Step, StepTicket Ticket)> _inFlight = new();
    private bool _stopping;

    // until when the thread's time is accounted for
    private long _accounted;

    public EngineLoop(
        StepWatch backend, EngineOptions options, EngineStats stats, TimeProvider time, ConcurrentQueue<EngineCommand> commands, AutoResetEvent wake)
    {
        _backend = backend;
        _stats = stats;
        _time = time;
        _commands = commands;
        _wake = wake;
        _scheduler = new Scheduler(backend.Info, options, stats, time);
        _steps = [.. Enumerable.Range(0, backend.Info.LookAhead + 1).Select(_ => new PlannedStep(backend.Info.SlotCount, backend.Info.MaxModelLength))];
    }

    /// <summary>Returns when drained or stopped.</summary>
    /// <exception cref="Exception">Whatever the backend or a broken invariant threw; the caller makes it an <see cref="EngineFault"/>.</exception>
    public void Run()
    {
        var next = 0;
        _accounted = _time.GetTimestamp();
        while (DrainCommands())
        {
            var step = _steps[next];
            if (_scheduler.Plan(step))
            {
                _stats.ScheduleTicks += SinceAccounted();
                _inFlight.Enqueue((step, _backend.Submit(step.Plan)));
                _stats.BackendTicks += SinceAccounted();
                next = (next + 1) % _steps.Length;
            }
            else if (_inFlight.Count == 0)
            {
                continue;
            }

            // look ahead only while there was something to plan: otherwise the step in flight is all there is to wait for
            if (_inFlight.Count > _backend.Info.LookAhead || step.Plan.IsEmpty)
            {
                Collect();
            }
        }
    }

    /// <summary>Tells every live request. After <see cref="Run"/> has thrown, or by the thread that gave the engine thread up.</summary>
    public void Fail(string message)
    {
        _scheduler.Fail(_live.Values, message);
        _live.Clear();
        while (_commands.TryDequeue(out var command))
        {
            if (command is EngineCommand.Start start)
            {
                _scheduler.Fail([start.Generation], message);
            }
        }
    }

    private void Collect()
    {
        var (step, ticket) = _inFlight.Dequeue();
        _stats.ScheduleTicks += SinceAccounted();
        _backend.Collect(ticket, step.Result);
        _stats.BackendTicks += SinceAccounted();
        _stats.WaitTicks = _backend.WaitedTicks;
        _scheduler.Commit(step);
        if (_live.Count > 0)
        {
            RemoveEnded();
        }
    }

    private long SinceAccounted()
    {
        var now = _time.GetTimestamp();
        var ticks = now - _accounted;
        _accounted = now;
        return ticks;
    }

    private void RemoveEnded()
    {
        foreach (var (handle, generation) in _live)
        {
            if (generation.Unfinished == 0)
            {
                _live.Remove(handle);
            }
        }
    }

    /// <summary>Carries out what was asked; sleeps while there is no work. False when the loop should end.</summary>
    private bool DrainCommands()
    {
        while (true)
        {
            while (_commands.TryDequeue(out var command))
            {
                Execute(command);
            }

            if (_scheduler.HasWork || _inFlight.Count > 0)
            {
                return true;
            }

            if (_stopping)
            {
                return false;
            }

            _stats.ScheduleTicks += SinceAccounted();
            _wake.WaitOne();
            _accounted = _time.GetTimestamp();
        }
    }

    private void Execute(EngineCommand command)
    {
        switch (command)
        {
            case EngineCommand.Start start:
                _live.Add(start.Generation.Handle, start.Generation);
                _scheduler.Add(start.Generation);
                break;
            case EngineCommand.Abort abort when _live.TryGetValue(abort.Handle, out var generation):
                _scheduler.Abort(generation, abort.Choice);
                RemoveEnded();
                break;
            case EngineCommand.Drain:
                _stopping = true;
                break;
            case EngineCommand.Stop:
                _stopping = true;
                foreach (var generation in _live.Values)
                {
                    _scheduler.Abort(generation, -1);
                }

                _live.Clear();
                break;
            case EngineCommand.ClearPrefixes:
                _scheduler.ClearPrefixes();
                break;
        }
    }
}
