namespace Sals.Engine.Scheduling;

/// <summary>One prompt's way through the layers, for one choice or for all choices of a request at once.</summary>
public sealed class Prefill
{
    public Prefill(Sequence[] sequences) => Sequences = sequences;

    /// <summary>The first one's pages are written; the others share or copy them.</summary>
    public Sequence[] Sequences { get; }

    public Generation Generation => Sequences[0].Generation;

    public int[] Slots { get; set; } = [];

    public PrefillLane? Lane { get; set; }

    public int LaneOffset { get; set; }

    /// <summary>Prompt tokens that cached pages cover.</summary>
    public int HistoryLength { get; set; }

    /// <summary>Next layer to compute.</summary>
    public int Layer { get; set; }

    /// <summary>Next token of that layer.</summary>
    public int Token { get; set; }

    /// <summary>Step counter when it took its lane.</summary>
    public long StartedStep { get; set; }

    public int PromptLength => Generation.Request.Prompt.Length;

    public bool Abandoned => Array.TrueForAll(Sequences, sequence => sequence.State == SequenceState.Finished);
}
