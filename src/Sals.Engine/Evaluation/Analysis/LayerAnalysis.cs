using System.Text.Json.Serialization;

namespace Sals.Engine.Evaluation.Analysis;

/// <summary>What was found about one layer.</summary>
public sealed record LayerAnalysis
{
    public required int Layer { get; init; }

    /// <summary>[D], eigenvalues of the second moment of the keys before rope, descending (paper, figure 4).</summary>
    public required double[] SpectrumBeforeRope { get; init; }

    /// <summary>[D], the same of the keys after rope.</summary>
    public required double[] SpectrumAfterRope { get; init; }

    /// <summary>Share of the energy before rope that lies along the mean key: what centring takes away.</summary>
    public required double MeanEnergy { get; init; }

    /// <summary>Mean attention probability, over heads and rows, on the sinks, the window and the tokens selected by the sum of all heads' logits in latent space (paper, figure 2).</summary>
    public required double SumMass { get; init; }

    /// <summary>The same for tokens selected by the best of the heads, each head's latent logits standardised over the candidates.</summary>
    public required double HeadMass { get; init; }

    /// <summary>The same for the tokens with the largest true probability, mean over heads: no selection of one set for all heads can keep more.</summary>
    public required double OracleMass { get; init; }

    /// <summary>The same for sinks and window alone: what needs no selection.</summary>
    public required double FixedMass { get; init; }

    /// <summary>[ranks of the sweep], <see cref="SumMass"/> when that many latent coordinates are scored.</summary>
    public required double[] SweepMass { get; init; }

    /// <summary>Share of a step's selected tokens that the next step selects too, of those that both could.</summary>
    public required double Overlap { get; init; }

    /// <summary>Latent coordinates, a multiple of 16, under one budget for all compressed layers: each next 16 go where they hold most energy. 0 = not compressed by these settings.</summary>
    public required int SuggestedRank { get; init; }

    /// <summary>The selection loses too much here: <see cref="SumMass"/> is below <see cref="ModelAnalysis.LeastMass"/> and below the oracle's.</summary>
    public required bool SuggestDense { get; init; }

    /// <summary>Share of the energy before rope in the leading coordinates.</summary>
    public double Energy(int rank) => SpectrumBeforeRope.Take(rank).Sum() / SpectrumBeforeRope.Sum();
}

/// <summary>All layers, and how it was found.</summary>
public sealed record ModelAnalysis
{
    /// <summary>Retained probability below which a layer is better kept exact (the paper's figure 2: over 0.9 in the layers it compresses).</summary>
    public const double LeastMass = 0.9;

    public required string Model { get; init; }

    public required string Data { get; init; }

    /// <summary>Tokens of the sequences that gave spectra and bases.</summary>
    public required long CalibrationTokens { get; init; }

    /// <summary>Sequences on which attention was looked at, others than those.</summary>
    public required int Sequences { get; init; }

    public required int SequenceLength { get; init; }

    /// <summary>Rows of every sequence, in pairs of neighbours.</summary>
    public required int RowsPerSequence { get; init; }

    /// <summary>Cache settings, in words that --sals takes.</summary>
    public required string Cache { get; init; }

    public required int Rank { get; init; }

    public required int ScoreRank { get; init; }

    /// <summary>Scored coordinates of <see cref="LayerAnalysis.SweepMass"/>.</summary>
    public required int[] SweepRanks { get; init; }

    public required LayerAnalysis[] Layers { get; init; }

    /// <summary>The suggested ranks in the words of --sals.</summary>
    [JsonIgnore]
    public string LayerRanks => $"layer_ranks={string.Join(',', Layers.Where(layer => layer.SuggestedRank > 0).Select(layer => layer.SuggestedRank))}";
}
