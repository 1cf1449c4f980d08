namespace Sals.Engine.Latent;

/// <summary>What calibration found for one layer: both bases, cut to the largest rank asked for, and the whole spectra; of several groups of KV heads one group after the other.</summary>
/// <param name="Layer">Layer of the model.</param>
/// <param name="Uncentred">Eigenvectors of the second moment, as the paper projects.</param>
/// <param name="Centred">Eigenvectors of the covariance, with the mean that is subtracted before projection.</param>
/// <param name="UncentredSpectrum">[D], all eigenvalues of the second moment, descending in a group.</param>
/// <param name="CentredSpectrum">[D], all eigenvalues of the covariance, descending in a group.</param>
public sealed record CalibratedLayer(int Layer, LatentBasisLayer Uncentred, LatentBasisLayer Centred, float[] UncentredSpectrum, float[] CentredSpectrum)
{
    /// <summary>Bases made for queries, one for each rank that was asked for; each is its own, not a cut of a larger one.</summary>
    public IReadOnlyList<LatentBasisLayer> Weighted { get; init; } = [];
}
