using Sals.Engine.Latent;

namespace Sals.Engine.Backends;

/// <summary>What calibration needs of a backend; apart from the step contract, so that neither burdens the other. Called by the thread that owns the backend, between steps.</summary>
public interface ICalibrationBackend : IDisposable
{
    /// <summary>Longest sequence of one call.</summary>
    int MaxCalibrationLength { get; }

    /// <summary>Sequences between two calls of <see cref="CollectKeyCovariance"/>, always counted from the first: sums are added up in the same groups in every run.</summary>
    int SequenceGroup { get; }

    /// <summary>
    /// Runs one sequence through all layers and adds each layer's keys before rope (after bias and key norm), in order of position: to <paramref name="keys"/> at once, or
    /// to sums of the backend's own until <see cref="CollectKeyCovariance"/>.
    /// </summary>
    /// <param name="tokens">1 .. <see cref="MaxCalibrationLength"/> ids.</param>
    /// <param name="keys">L layers of width D.</param>
    void AccumulateKeyCovariance(ReadOnlySpan<int> tokens, CovarianceSet keys);

    /// <summary>Moves what the backend has gathered to <paramref name="keys"/>.</summary>
    void CollectKeyCovariance(CovarianceSet keys);

    /// <summary>Runs one sequence and adds each layer's queries before rope to <paramref name="queries"/>.</summary>
    /// <exception cref="NotSupportedException">This backend does not show queries.</exception>
    void AccumulateQueries(ReadOnlySpan<int> tokens, QueryMoments queries);

    /// <summary>Eigenvectors of a layer's second moment.</summary>
    /// <param name="matrix">[N, N], symmetric.</param>
    SymmetricEigen Decompose(double[] matrix, int size);
}
