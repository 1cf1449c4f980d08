using Sals.Engine.Backends;
using Sals.Engine.Latent;
using Sals.Engine.Scheduling;

namespace Sals.Server.Hosting;

/// <summary>Samples one token after another of the vocabulary and computes nothing: what a <see cref="Rehearsal"/> talks to while the real one is made.</summary>
internal sealed class RehearsalBackend : IStepBackend
{
    private const int PageBytes = 4096;
    private const int Pages = 256;

    private readonly Queue<(long Id, int[] Slots)> _outstanding = new();
    private long _submitted;
    private int _token;

    public RehearsalBackend(int vocabularySize)
    {
        Info = new BackendInfo
        {
            Name = "rehearsal",
            VocabularySize = vocabularySize,
            LayerCount = 2,
            SlotCount = 4,
            MaxModelLength = 4096,
            LookAhead = 1,
            CacheBytes = Pages * PageBytes,
            SlabBytes = 16 * PageBytes,
            Spec = LatentSpec.Dense(2),
            PageBytes = [PageBytes, 0, 0],
            ExactPageBytes = PageBytes,
            CacheTokens = 4096,
            LaneLengths = [4096, 4096],
            PrefillChunk = 1024,
            PrefillCost = PrefillCost.Linear(1e-4, 1e-9),
        };
    }

    public BackendInfo Info { get; }

    public StepTicket Submit(StepPlan plan)
    {
        var slots = new List<int>();
        foreach (ref readonly var row in plan.Decodes.Items)
        {
            slots.Add(row.Slot);
        }

        foreach (ref readonly var slice in plan.Prefills.Items)
        {
            slots.AddRange(slice.Samples ? slice.Slots : []);
        }

        _outstanding.Enqueue((++_submitted, [.. slots]));
        return new StepTicket(_submitted);
    }

    public void Collect(StepTicket ticket, StepResult result)
    {
        var (_, slots) = _outstanding.Dequeue();
        result.Count = slots.Length;
        slots.CopyTo(result.Slots, 0);
        for (var i = 0; i < slots.Length; i++)
        {
            result.Tokens[i] = _token++ % Info.VocabularySize;
        }
    }

    public void Dispose()
    {
    }
}
