using Sals.Engine.Latent;

namespace Sals.Engine.Backends;

/// <summary>What calibration needs of a backend; apart from the step contract, so that neither burdens the other. Called by the thread that owns the backend, between steps.</summary>
public interface ICalibrationBackend
{
    /// <summary>Longest sequence of one call.</summary>
    int MaxCalibrationLength { get; }

    /// <summary>Runs one sequence through all layers and adds each layer's keys before rope (after bias and key norm) to <paramref name="keys"/>, in order of position.</summary>
    /// <param name="tokens">1 .. <see cref="MaxCalibrationLength"/> ids.</param>
    /// <param name="keys">L layers of width D.</param>
    void AccumulateKeyCovariance(ReadOnlySpan<int> tokens, CovarianceSet keys);
}
