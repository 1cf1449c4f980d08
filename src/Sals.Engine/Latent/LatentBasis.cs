namespace Sals.Engine.Latent;

/// <summary>
/// The projection of one layer: latent = P (key - mean), key ~ U latent + mean, keys taken before rope (after bias and k_norm), all KV heads side by
/// side. Columns of U are orthonormal eigenvectors of the keys' second moment (or covariance when centred), largest eigenvalue first, and P = U^T (paper section 3,
/// joint low-rank projection; stored transposed, one eigenvector a row); of several groups of heads each has its own, and zeros in the others' channels; or U and P are two matrices with P U = 1 (<see cref="WeightedBasis"/>).
/// </summary>
public sealed class LatentBasisLayer
{
    private const int PanelWidth = 32;

    private float[]? _panels;

    /// <param name="vectors">[R, D], row i = column i of U.</param>
    /// <param name="mean">[D], zeros for a basis that is not centred.</param>
    /// <param name="eigenvalues">[R], mean square of each latent coordinate; descending in a group.</param>
    /// <param name="latentMean">[R], mean of each latent coordinate.</param>
    /// <param name="projection">[R, D], P where it is not U^T.</param>
    public LatentBasisLayer(float[] vectors, float[] mean, float[] eigenvalues, float[] latentMean, float[]? projection = null)
    {
        Vectors = vectors;
        Projection = projection ?? vectors;
        ArgumentOutOfRangeException.ThrowIfNotEqual(Projection.Length, vectors.Length, nameof(projection));
        Mean = mean;
        Eigenvalues = eigenvalues;
        LatentMean = latentMean;
        LatentVariance = new float[Rank];
        Scale = new float[Rank];
        InverseScale = new float[Rank];
        ArgumentOutOfRangeException.ThrowIfNotEqual(vectors.Length, Rank * Width);
        ArgumentOutOfRangeException.ThrowIfNotEqual(latentMean.Length, Rank);
        for (var i = 0; i < Rank; i++)
        {
            LatentVariance[i] = Math.Max(0, eigenvalues[i] - latentMean[i] * latentMean[i]);

            // six standard deviations before clipping; a coordinate that never varies gets scale 0 and code 0
            Scale[i] = 6 * MathF.Sqrt(Math.Max(0, eigenvalues[i])) / 127;
            InverseScale[i] = Scale[i] > 0 && float.IsFinite(1 / Scale[i]) ? 1 / Scale[i] : 0;
        }
    }

    /// <summary>[R, D], U^T: what reconstructs keys and projects scoring queries.</summary>
    public float[] Vectors { get; }

    /// <summary>[R, D], P: what projects keys; the same array as <see cref="Vectors"/> for an orthonormal basis.</summary>
    public float[] Projection { get; }

    /// <summary>[D]</summary>
    public float[] Mean { get; }

    /// <summary>[R]</summary>
    public float[] Eigenvalues { get; }

    /// <summary>[R]</summary>
    public float[] LatentMean { get; }

    /// <summary>[R]</summary>
    public float[] LatentVariance { get; }

    /// <summary>[R], value of code 1 in int8 latents.</summary>
    public float[] Scale { get; }

    /// <summary>[R], 1 / <see cref="Scale"/> rounded to float32, 0 where the scale is 0: codes are round(latent * InverseScale).</summary>
    public float[] InverseScale { get; }

    /// <summary>
    /// Channels [32 * panel, 32 * panel + 32) of U as [R, 32], zeros past D: the operand of a product that reconstructs keys. Made at the first call; two
    /// threads that come first both make the same.
    /// </summary>
    public ReadOnlySpan<float> Panel(int panel) => (_panels ??= Pack()).AsSpan(panel * PanelWidth * Rank, PanelWidth * Rank);

    /// <summary>Memory of the vectors, once as stored and once as <see cref="Panel"/> packs them, and of what belongs to each channel and coordinate.</summary>
    public long Bytes => sizeof(float) * ((long)Vectors.Length + ((Width + PanelWidth - 1) / PanelWidth * PanelWidth * (long)Rank) + Width + (5L * Rank));

    /// <summary>R</summary>
    public int Rank => Eigenvalues.Length;

    /// <summary>D</summary>
    public int Width => Mean.Length;

    /// <summary>Row i of U^T, [D].</summary>
    public ReadOnlySpan<float> Vector(int i) => Vectors.AsSpan(i * Width, Width);

    private float[] Pack()
    {
        var panels = new float[(Width + PanelWidth - 1) / PanelWidth * PanelWidth * Rank];
        for (var i = 0; i < Rank; i++)
        {
            for (var channel = 0; channel < Width; channel++)
            {
                panels[(((channel / PanelWidth * Rank) + i) * PanelWidth) + (channel % PanelWidth)] = Vectors[(i * Width) + channel];
            }
        }

        return panels;
    }
}

/// <summary>Projections of every compressed layer of a model, cut to the rank of a <see cref="LatentSpec"/>.</summary>
public sealed class LatentBasis
{
    private readonly LatentBasisLayer?[] _layers;

    /// <param name="layers">[L], null where a layer is dense.</param>
    /// <param name="fingerprint">Distinguishes bases; part of the key of cached prefixes.</param>
    public LatentBasis(LatentBasisLayer?[] layers, string fingerprint)
    {
        _layers = layers;
        Fingerprint = fingerprint;
    }

    public string Fingerprint { get; }

    /// <exception cref="InvalidOperationException">The layer is dense.</exception>
    public LatentBasisLayer Layer(int layer) => _layers[layer] ?? throw new InvalidOperationException($"Layer {layer} has no latent basis.");
}
