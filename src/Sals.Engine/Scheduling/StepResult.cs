namespace Sals.Engine.Scheduling;

/// <summary>What a finished step sampled, in plan order: decode rows, then one row per slot of each sampling slice. Reused.</summary>
public sealed class StepResult
{
    /// <summary>Most alternatives a row can report.</summary>
    public const int MaxTop = 20;

    public StepResult(int capacity)
    {
        Slots = new int[capacity];
        Tokens = new int[capacity];
        LogProbabilities = new float[capacity];
        TargetLogProbabilities = new float[capacity];
        TopIds = new int[capacity * MaxTop];
        TopLogProbabilities = new float[capacity * MaxTop];
        SparseLayers = new int[capacity];
        ScoredLayers = new int[capacity];
        SelectedTokens = new int[capacity];
    }

    public int Count { get; set; }

    /// <summary>How long the prefill slices of the step took, milliseconds; 0 = there were none, or nobody timed them.</summary>
    public double PrefillMilliseconds { get; set; }

    /// <summary>[Count]</summary>
    public int[] Slots { get; }

    /// <summary>[Count]</summary>
    public int[] Tokens { get; }

    /// <summary>[Count], natural logarithm, raw logits; meaningful when the row's sampling asks for log-probabilities.</summary>
    public float[] LogProbabilities { get; }

    /// <summary>[Count], of <see cref="DecodeRow.TargetToken"/>.</summary>
    public float[] TargetLogProbabilities { get; }

    /// <summary>[Count, MaxTop], most probable first; only the first N asked for are meaningful.</summary>
    public int[] TopIds { get; }

    /// <summary>[Count, MaxTop]</summary>
    public float[] TopLogProbabilities { get; }

    /// <summary>[Count], layers of a decode row that read latent pages; 0 for rows of a prefill and for sequences that are still wholly exact.</summary>
    public int[] SparseLayers { get; }

    /// <summary>[Count], layers of a decode row whose tokens were chosen by score, because there were more candidates than the budget.</summary>
    public int[] ScoredLayers { get; }

    /// <summary>[Count], latent tokens that a decode row attended to, summed over its layers.</summary>
    public int[] SelectedTokens { get; }
}
