using Sals.Engine;
using Sals.Engine.Backends;
using Sals.Engine.Scheduling;

namespace Sals.Testing;

/// <summary>Drives a scheduler and a backend step by step on the test's own thread, as the engine loop does, so that a test can act between any two steps.</summary>
public sealed class StepDriver
{
    private readonly IStepBackend _backend;
    private readonly PlannedStep[] _steps;
    private readonly Queue<(PlannedStep Step, StepTicket Ticket)> _inFlight = new();
    private int _next;

    public StepDriver(IStepBackend backend, EngineOptions? options = null)
    {
        _backend = backend;
        Options = options ?? new EngineOptions { CheckIntegrity = true, Fingerprint = "test" };
        Scheduler = new Scheduler(backend.Info, Options, Stats, TimeProvider.System);
        _steps = [.. Enumerable.Range(0, backend.Info.LookAhead + 1).Select(_ => new PlannedStep(backend.Info.SlotCount, backend.Info.MaxModelLength))];
    }

    public EngineOptions Options { get; }

    public EngineStats Stats { get; } = new();

    public Scheduler Scheduler { get; }

    /// <summary>Called with each plan before it is submitted.</summary>
    public Action<StepPlan>? OnPlan { get; set; }

    public Generation Add(GenerationRequest request)
    {
        var generation = new Generation(new GenerationHandle(request, (_, _) => { }), Options.PrefixCaching ? Options.Fingerprint : null);
        Scheduler.Add(generation);
        return generation;
    }

    /// <summary>Plans and submits one step and collects what must be collected.</summary>
    public void Step()
    {
        var step = _steps[_next];
        if (Scheduler.Plan(step))
        {
            OnPlan?.Invoke(step.Plan);
            _inFlight.Enqueue((step, _backend.Submit(step.Plan)));
            _next = (_next + 1) % _steps.Length;
        }

        if (_inFlight.Count > _backend.Info.LookAhead || (step.Plan.IsEmpty && _inFlight.Count > 0))
        {
            Collect();
        }
    }

    /// <summary>Steps until the generation has ended.</summary>
    public int[][] Finish(Generation generation, int limit = 100_000)
    {
        while (generation.Unfinished > 0)
        {
            if (limit-- == 0)
            {
                throw new InvalidOperationException("The generation does not end.");
            }

            Step();
        }

        // a request refused for want of memory must not pass for an empty text
        var empty = generation.Choices.FirstOrDefault(choice => choice.Tokens.Count == 0);
        return empty is null
            ? [.. generation.Choices.Select(choice => choice.Tokens.ToArray())]
            : throw new InvalidOperationException($"Choice {empty.Choice} ended without a token.");
    }

    public int[][] Run(GenerationRequest request) => Finish(Add(request));

    /// <summary>Collects what is in flight, forgets cached prefixes and checks that nothing is left.</summary>
    public void ExpectEmpty()
    {
        while (_inFlight.Count > 0)
        {
            Collect();
        }

        Scheduler.ClearPrefixes();
        Scheduler.CheckIntegrity();
        if (Scheduler.HasWork || Stats.CacheBytesUsed != 0)
        {
            throw new InvalidOperationException($"{Stats.CacheBytesUsed} bytes of pages are left.");
        }
    }

    private void Collect()
    {
        var (step, ticket) = _inFlight.Dequeue();
        _backend.Collect(ticket, step.Result);
        Scheduler.Commit(step);
    }
}
