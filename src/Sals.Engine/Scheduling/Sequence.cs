using Sals.Engine.Grammar;
using Sals.Engine.Sampling;

namespace Sals.Engine.Scheduling;

/// <summary>Where a sequence is.</summary>
public enum SequenceState
{
    /// <summary>Queued, for the first time or after a preemption; holds neither slot nor pages.</summary>
    Waiting,

    /// <summary>Its prompt is on its way through the layers.</summary>
    Prefilling,

    /// <summary>One decode row a step.</summary>
    Running,

    /// <summary>Must give up slot and pages as soon as no step in flight names it, then waits again.</summary>
    Preempted,

    /// <summary>Ended; slot and pages go as soon as no step in flight names it.</summary>
    Finished,
}

/// <summary>
/// One choice of one request: its tokens, its slot and its pages. Output number j comes from the prompt's last row (j = 0) or from
/// decode row j - 1, whose input is output j - 1. Engine thread only.
/// </summary>
public sealed class Sequence
{
    public Sequence(Generation generation, int choice)
    {
        Generation = generation;
        Choice = choice;
        Sampling = choice == 0 ? generation.Request.Sampling : generation.Request.Sampling with { Stream = generation.Request.Sampling.Stream + (uint)choice };
        Matcher = generation.Request.Grammar is { } grammar ? new TokenMatcher(grammar, generation.Request.StopTokenIds) : null;
    }

    public Generation Generation { get; }

    public int Choice { get; }

    public SamplingOptions Sampling { get; }

    public SequenceState State { get; set; } = SequenceState.Waiting;

    /// <summary>Generated ids in order; survives preemption.</summary>
    public List<int> Tokens { get; } = [];

    /// <summary>Where the text is in the request's grammar: after all of <see cref="Tokens"/>, so a preemption changes nothing. Null = free text.</summary>
    public TokenMatcher? Matcher { get; }

    /// <summary>-1 = none.</summary>
    public int Slot { get; set; } = -1;

    /// <summary>Null while waiting.</summary>
    public SequencePages? Pages { get; set; }

    /// <summary>The prefill this sequence takes part in; null before and after.</summary>
    public Prefill? Prefill { get; set; }

    /// <summary>Submitted, uncollected steps that name this sequence.</summary>
    public int InFlight { get; set; }

    /// <summary>Decode rows planned since the prompt was last prefilled.</summary>
    public int RowsPlanned { get; set; }

    /// <summary>Outputs that existed when the prompt was last prefilled: they are replayed as forced rows and not published again.</summary>
    public int Replayed { get; set; }

    /// <summary>Cached prompt tokens of the first prefill; a replay takes no more lossy pages than that. -1 = not prefilled yet.</summary>
    public int FirstHit { get; set; } = -1;

    /// <summary>Tokens in the cache once every planned row has run.</summary>
    public int Length => Generation.Request.Prompt.Length + RowsPlanned;

    /// <summary>Whether another output may be planned.</summary>
    public bool WantsRow => RowsPlanned + 1 < Generation.Request.MaxTokens;

    /// <summary>Output <paramref name="output"/> is sampled, not replayed, so its row needs the matcher's mask.</summary>
    public bool NeedsMask(int output) => Matcher is not null && output >= Replayed;

    /// <summary>A masked row waits until the token before it is committed: the mask depends on it.</summary>
    public bool MayPlan(int output) => !NeedsMask(output) || output == Tokens.Count;

    /// <summary>Adds the mask of an output. A fixed one is the same at every row, so it need not wait for the row before; a grammar's belongs to one output.</summary>
    public void AddMask(int output, StepPlan plan)
    {
        if (NeedsMask(output))
        {
            plan.Masks.Add(new SlotMask(Slot, Matcher!.Mask));
        }
        else if (Generation.Request.AllowedTokens is { } bits)
        {
            plan.Masks.Add(new SlotMask(Slot, bits));
        }
    }

    /// <summary>Input of the next decode row if the host decides it; -1 = the last sampled token.</summary>
    public int NextInput => ForcedOutput(RowsPlanned) is var forced and >= 0 ? forced : RowsPlanned < Replayed ? Tokens[RowsPlanned] : -1;

    /// <summary>Teacher-forced id of output <paramref name="index"/>; -1 = free.</summary>
    public int ForcedOutput(int index) => Generation.Request.ForcedTokens is { } forced && index < forced.Length ? forced[index] : -1;

    /// <summary>Who is served first: priority, then arrival, then choice.</summary>
    public static int CompareImportance(Sequence a, Sequence b)
    {
        var order = a.Generation.Request.Priority.CompareTo(b.Generation.Request.Priority);
        order = order != 0 ? order : a.Generation.Arrival.CompareTo(b.Generation.Arrival);
        return order != 0 ? order : a.Choice.CompareTo(b.Choice);
    }
}
