using System.Globalization;
using System.Numerics.Tensors;
using Sals.Engine.Backends;
using Sals.Engine.Models;

namespace Sals.Engine.Latent;

/// <summary>How far a calibration has come; printed as a progress bar or log lines.</summary>
/// <param name="Stage">What is being done.</param>
/// <param name="Done">Of <paramref name="Total"/>.</param>
/// <param name="Total">Sequences or layers.</param>
public readonly record struct CalibrationProgress(string Stage, int Done, int Total);

/// <summary>
/// Text → key statistics → bases (paper section 3, offline calibration): the joint second moment of each layer's keys before rope over all KV heads, its
/// eigenvectors by descending eigenvalue; and the same for the centred covariance; or those of its diagonal blocks, one for each group of heads. All sums and eigenvectors in double, in a fixed order.
/// </summary>
/// <remarks>
/// Resumable: the sums are saved after every few sequences, each layer's result when it is done, all atomically. A run that was
/// interrupted at any point and started again gives the same bytes as one that was not.
/// </remarks>
public sealed class Calibrator
{
    private const string SequenceKey = "next_sequence";

    /// <summary>Sequences whose queries are looked at: moments of one head settle long before those of all keys.</summary>
    private const int QuerySequences = 48;

    private readonly ICalibrationBackend _backend;
    private readonly ModelConfig _model;
    private readonly CalibrationText _text;
    private readonly LatentBasisOrigin _origin;
    private readonly string _stateFolder;
    private readonly int _rank;

    /// <param name="modelFingerprint">Of the backend's weights.</param>
    /// <param name="rank">Vectors kept per layer: the largest rank that will be asked for, 1..D.</param>
    /// <param name="stateFolder">Where the state lies until the end; the next run with the same text, model, rank and groups goes on from it.</param>
    /// <param name="groups">N, groups of consecutive KV heads with a basis of their own; divides HK and <paramref name="rank"/>.</param>
    public Calibrator(ICalibrationBackend backend, ModelConfig model, string modelFingerprint, CalibrationText text, int rank, string stateFolder, int groups = 1)
    {
        ArgumentOutOfRangeException.ThrowIfLessThan(rank, 1);
        ArgumentOutOfRangeException.ThrowIfGreaterThan(rank, model.KeyWidth);
        ArgumentOutOfRangeException.ThrowIfLessThan(groups, 1);
        ArgumentOutOfRangeException.ThrowIfNotEqual(model.KeyValueHeadCount % groups, 0, nameof(groups));
        ArgumentOutOfRangeException.ThrowIfNotEqual(rank % groups, 0, nameof(rank));
        (_backend, _model, _text, _rank, _stateFolder) = (backend, model, text, rank, stateFolder);
        _origin = new LatentBasisOrigin(modelFingerprint, text.Fingerprint, text.TokenCount, groups);
    }

    /// <summary>Time between two saves of the sums.</summary>
    public TimeSpan SaveInterval { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Ranks, multiples of the groups, for which bases are made for queries as well (<see cref="WeightedBasis"/>); needs a backend that shows queries.</summary>
    public IReadOnlyList<int> WeightedRanks { get; init; } = [];

    /// <summary>Told after every sequence and layer.</summary>
    public Action<CalibrationProgress>? Progress { get; init; }

    /// <summary>Runs to the end, writes the basis file atomically and removes the state.</summary>
    /// <exception cref="OperationCanceledException">Stopped between two groups of sequences or two layers; what is done is saved.</exception>
    public void Run(string output, TimeProvider time, CancellationToken stop)
    {
        Directory.CreateDirectory(_stateFolder);
        var keys = Accumulate(time, stop);
        var layers = new CalibratedLayer[_model.LayerCount];
        for (var layer = 0; layer < layers.Length; layer++)
        {
            stop.ThrowIfCancellationRequested();
            layers[layer] = Resume(layer) ?? Decompose(keys, layer);
            Progress?.Invoke(new CalibrationProgress("eigenvectors", layer + 1, layers.Length));
        }

        if (WeightedRanks.Count > 0)
        {
            AddWeighted(layers, keys, stop);
        }

        LatentBasisFile.Write(output, _origin, _model.LayerCount, layers);
        Directory.Delete(_stateFolder, recursive: true);
    }

    private void AddWeighted(CalibratedLayer[] layers, CovarianceSet keys, CancellationToken stop)
    {
        var queries = new QueryMoments(_model);
        var count = Math.Min(QuerySequences, _text.Sequences.Count);
        for (var i = 0; i < count; i++)
        {
            stop.ThrowIfCancellationRequested();
            _backend.AccumulateQueries(_text.Sequences[i], queries);
            Progress?.Invoke(new CalibrationProgress("query statistics", i + 1, count));
        }

        var span = _text.Sequences.Max(sequence => sequence.Length);
        var rope = new RopeTable(_model.Rope, _model.HeadSize, span);
        for (var layer = 0; layer < layers.Length; layer++)
        {
            stop.ThrowIfCancellationRequested();
            var (covariance, mean) = (keys.Covariance(layer, centred: true), keys.Mean(layer));
            layers[layer] = layers[layer] with { Weighted = [.. WeightedRanks.Select(rank => WeightedBasis.Of(covariance, mean, queries, layer, _model, rope, rank, span, _origin.Groups))] };
            Progress?.Invoke(new CalibrationProgress("bases for queries", layer + 1, layers.Length));
        }
    }

    private string SumsFile => Path.Combine(_stateFolder, "sums.safetensors");

    private string LayerFile(int layer) => Path.Combine(_stateFolder, $"layer-{layer}.safetensors");

    private CovarianceSet Accumulate(TimeProvider time, CancellationToken stop)
    {
        var (keys, next) = LoadSums();
        var saved = time.GetTimestamp();
        while (next < _text.Sequences.Count)
        {
            if (stop.IsCancellationRequested)
            {
                SaveSums(keys, next);
                stop.ThrowIfCancellationRequested();
            }

            // never stopped within a group, whose sums may not be in the set yet
            var end = Math.Min(next + _backend.SequenceGroup, _text.Sequences.Count);
            for (; next < end; next++)
            {
                _backend.AccumulateKeyCovariance(_text.Sequences[next], keys);
                Progress?.Invoke(new CalibrationProgress("key statistics", next + 1, _text.Sequences.Count));
            }

            _backend.CollectKeyCovariance(keys);
            if (time.GetElapsedTime(saved) >= SaveInterval)
            {
                SaveSums(keys, next);
                saved = time.GetTimestamp();
            }
        }

        SaveSums(keys, next);
        return keys;
    }

    private (CovarianceSet Keys, int Next) LoadSums()
    {
        if (File.Exists(SumsFile))
        {
            var keys = CovarianceSet.Load(SumsFile, out var metadata);
            var same = metadata.GetValueOrDefault("model_fingerprint") == _origin.ModelFingerprint && metadata.GetValueOrDefault("data_fingerprint") == _origin.DataFingerprint;
            if (same && int.TryParse(metadata.GetValueOrDefault(SequenceKey), NumberStyles.None, CultureInfo.InvariantCulture, out var next) && next <= _text.Sequences.Count)
            {
                return (keys, next);
            }
        }

        return (new CovarianceSet(_model.LayerCount, _model.KeyWidth), 0);
    }

    private void SaveSums(CovarianceSet keys, int next) => keys.Save(SumsFile, new Dictionary<string, string>
    {
        ["model_fingerprint"] = _origin.ModelFingerprint,
        ["data_fingerprint"] = _origin.DataFingerprint,
        [SequenceKey] = next.ToString(CultureInfo.InvariantCulture),
    });

    /// <summary>The layer as an earlier run left it; null when there is none for the same text, model, rank and groups.</summary>
    private CalibratedLayer? Resume(int layer)
    {
        if (!File.Exists(LayerFile(layer)))
        {
            return null;
        }

        var (origin, layers) = LatentBasisFile.ReadAll(LayerFile(layer));
        return origin == _origin && layers is [{ } only] && only.Layer == layer && only.Uncentred.Rank == _rank ? only : null;
    }

    private CalibratedLayer Decompose(CovarianceSet keys, int layer)
    {
        var mean = keys.Mean(layer);
        var (uncentred, uncentredSpectrum) = Basis(keys.Covariance(layer, centred: false), new double[mean.Length], mean);
        var (centred, centredSpectrum) = Basis(keys.Covariance(layer, centred: true), mean, new double[mean.Length]);
        var result = new CalibratedLayer(layer, uncentred, centred, uncentredSpectrum, centredSpectrum);
        LatentBasisFile.Write(LayerFile(layer), _origin, _model.LayerCount, [result]);
        return result;
    }

    /// <param name="covariance">[D, D]</param>
    /// <param name="subtracted">[D], mean that is subtracted before projection.</param>
    /// <param name="remaining">[D], mean of what is projected.</param>
    private (LatentBasisLayer Basis, float[] Spectrum) Basis(double[] covariance, double[] subtracted, double[] remaining)
    {
        int width = _model.KeyWidth, block = width / _origin.Groups, share = _rank / _origin.Groups;
        float[] spectrum = new float[width], vectors = new float[_rank * width], eigenvalues = new float[_rank], latentMean = new float[_rank];
        for (var group = 0; group < _origin.Groups; group++)
        {
            var first = group * block;
            var eigen = _backend.Decompose(Block(covariance, first, block), block);
            for (var i = 0; i < block; i++)
            {
                spectrum[first + i] = (float)Math.Max(0, eigen.Values[i]);
            }

            for (var n = 0; n < share; n++)
            {
                var at = (group * share) + n;
                TensorPrimitives.ConvertTruncating<double, float>(eigen.Vector(n), vectors.AsSpan((at * width) + first, block));
                eigenvalues[at] = spectrum[first + n];
                latentMean[at] = (float)TensorPrimitives.Dot(eigen.Vector(n), remaining.AsSpan(first, block));
            }
        }

        return (new LatentBasisLayer(vectors, [.. subtracted.Select(x => (float)x)], eigenvalues, latentMean), spectrum);
    }

    /// <summary>Rows and columns [first, first + size) of a matrix [D, D].</summary>
    private double[] Block(double[] matrix, int first, int size)
    {
        var width = _model.KeyWidth;
        if (size == width)
        {
            return matrix;
        }

        var block = new double[size * size];
        for (var row = 0; row < size; row++)
        {
            matrix.AsSpan(((first + row) * width) + first, size).CopyTo(block.AsSpan(row * size));
        }

        return block;
    }
}
