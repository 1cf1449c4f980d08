using Sals.Engine.Paging;
using Sals.Engine.Sampling;
using Sals.Engine.Scheduling;

namespace Sals.Engine.Backends;

/// <summary>
/// A prompt of two tokens and a decode step, as the engine plans them, before the first request: .NET compiles and the driver loads what only whole
/// steps use. Uses slot 0 and the first lane, and leaves no page behind.
/// </summary>
internal static class StepRehearsal
{
    private const int Prompt = 2;

    /// <summary>Runs nothing where a sequence of three tokens does not fit.</summary>
    /// <param name="backend">No step is outstanding.</param>
    public static void Run(IStepBackend backend)
    {
        var info = backend.Info;
        var pages = new SequencePages(new CachePools(info), info.Spec, Prompt + 1);
        if (info.MaxModelLength <= Prompt || !pages.TryAdmit(Prompt, [], 0))
        {
            return;
        }

        var plan = new StepPlan(info.SlotCount, info.MaxModelLength);
        var result = new StepResult(2 * info.SlotCount);
        var tokens = new int[Prompt];
        plan.Starts.Add(new SlotStart(0, new SamplingOptions { Temperature = 0 }, tokens));
        pages.TrySend(0, plan, []);
        plan.Prefills.Add(new PrefillSlice(0, 0, [0], tokens, 0, 0, info.LayerCount, 0, Prompt, Samples: true));
        backend.Collect(backend.Submit(plan), result);
        plan.Clear();
        if (pages.TryExtend(Prompt, 0, plan))
        {
            plan.Decodes.Add(new DecodeRow(0));
            backend.Collect(backend.Submit(plan), result);
        }

        pages.Release();
    }
}
