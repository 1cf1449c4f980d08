using System.Numerics.Tensors;
using Sals.Engine.Backends.Cpu;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Latent;
using Sals.Engine.Models;

namespace Sals.Engine.Evaluation.Analysis;

/// <summary>
/// How compressible a model's keys are and what a latent selection keeps of its attention: spectra before and after rope, and retained probability of the
/// selected tokens against the model's exact attention (paper, figures 2 and 4). Queries and keys are those of the exact model.
/// </summary>
public sealed class AttentionAnalysis
{
    private const int RankStep = 16;

    private readonly ModelConfig _model;
    private readonly CpuBackend _backend;
    private readonly LatentSpec _spec;
    private readonly RopeTable _rope;
    private readonly int _rows;

    /// <param name="spec">Ranks and budgets; its dense layers are looked at as well.</param>
    /// <param name="rows">Rows of each sequence that are looked at, in pairs of neighbours; at least 2.</param>
    public AttentionAnalysis(ModelConfig model, CpuBackend backend, LatentSpec spec, int rows)
    {
        (_model, _backend, _spec, _rows) = (model, backend, spec, rows / 2 * 2);
        ArgumentOutOfRangeException.ThrowIfLessThan(_rows, 2, nameof(rows));
        _rope = new RopeTable(model.Rope, model.HeadSize, backend.MaxCalibrationLength);
    }

    /// <summary>Told after every sequence and layer: done, of how many.</summary>
    public Action<int, int>? Progress { get; init; }

    /// <param name="calibration">Sequences that give spectra and bases.</param>
    /// <param name="sequences">Others of one length, on which attention is looked at.</param>
    public ModelAnalysis Run(string name, string data, IReadOnlyList<int[]> calibration, IReadOnlyList<int[]> sequences, CancellationToken stop)
    {
        var total = calibration.Count + (sequences.Count * (1 + _model.LayerCount));
        var done = 0;
        var before = new CovarianceSet(_model.LayerCount, _model.KeyWidth);
        var after = new CovarianceSet(_model.LayerCount, _model.KeyWidth);
        foreach (var sequence in calibration)
        {
            stop.ThrowIfCancellationRequested();
            Collect(sequence, before, after);
            Progress?.Invoke(++done, total);
        }

        var spectra = new (SymmetricEigen Before, double[] After)[_model.LayerCount];
        Parallel.For(0, spectra.Length, layer => spectra[layer] = (
            SymmetricEigen.Of(before.Covariance(layer, centred: false), _model.KeyWidth),
            SymmetricEigen.Of(after.Covariance(layer, centred: false), _model.KeyWidth).Values));
        int[] sweep = [.. new[] { _spec.Rank / 8, _spec.Rank / 4, _spec.Rank / 2, _spec.Rank, _model.KeyWidth / 2, _model.KeyWidth }.Where(rank => rank > 0).Distinct().Order()];
        var sums = Enumerable.Range(0, _model.LayerCount).Select(_ => new MassSums(sweep.Length)).ToArray();
        foreach (var sequence in sequences)
        {
            stop.ThrowIfCancellationRequested();
            var layers = Attention(sequence);
            Progress?.Invoke(++done, total);
            Parallel.For(0, _model.LayerCount, layer =>
            {
                Look(layers[layer], spectra[layer].Before, sweep, sums[layer]);
                Progress?.Invoke(Interlocked.Increment(ref done), total);
            });
        }

        var compressed = _spec.SparseLayers;
        var suggested = SuggestedRanks([.. compressed.Select(layer => spectra[layer].Before.Values)], _spec.Rank);
        return new ModelAnalysis
        {
            Model = name,
            Data = data,
            CalibrationTokens = calibration.Sum(sequence => (long)sequence.Length),
            Sequences = sequences.Count,
            SequenceLength = sequences[0].Length,
            RowsPerSequence = _rows,
            Cache = _spec.Describe(),
            Rank = _spec.Rank,
            ScoreRank = _spec.ScoreRank,
            SweepRanks = sweep,
            Layers = [.. sums.Select((sum, layer) => sum.ToLayer(layer, spectra[layer].Before.Values, spectra[layer].After, MeanEnergy(before, layer), compressed.Contains(layer) ? suggested[Array.IndexOf(compressed, layer)] : 0))],
        };
    }

    /// <summary>
    /// Ranks with the mean of <paramref name="rank"/>, multiples of 16: every next 16 coordinates go to the layer where they hold most energy. What a layer's logits lose grows
    /// with the energy that is left out, not with its share, so layers with large keys get more.
    /// </summary>
    /// <param name="spectra">[compressed layers][D], descending.</param>
    internal static int[] SuggestedRanks(double[][] spectra, int rank)
    {
        var step = Math.Min(RankStep, rank);
        int[] ranks = [.. spectra.Select(_ => step)];
        for (var left = (spectra.Length * (rank / step)) - spectra.Length; left > 0; left--)
        {
            var best = Enumerable.Range(0, ranks.Length).Where(layer => ranks[layer] + step <= spectra[layer].Length)
                .MaxBy(layer => spectra[layer].Skip(ranks[layer]).Take(step).Sum());
            ranks[best] += step;
        }

        return ranks;
    }

    private static double MeanEnergy(CovarianceSet keys, int layer)
    {
        var mean = keys.Mean(layer);
        var moment = keys.Covariance(layer, centred: false);
        return TensorPrimitives.SumOfSquares<double>(mean) / Enumerable.Range(0, mean.Length).Sum(i => moment[(i * mean.Length) + i]);
    }

    private void Collect(int[] sequence, CovarianceSet before, CovarianceSet after)
    {
        int queryWidth = _model.QueryWidth, keyWidth = _model.KeyWidth, width = queryWidth + keyWidth;
        var keys = Array.Empty<float>();
        _backend.Visit(sequence, (layer, first, rows) =>
        {
            var count = rows.Length / width;
            Array.Resize(ref keys, count * keyWidth);
            for (var t = 0; t < count; t++)
            {
                rows.Slice((t * width) + queryWidth, keyWidth).CopyTo(keys.AsSpan(t * keyWidth));
            }

            before.Add(layer, keys);
            for (var t = 0; t < count; t++)
            {
                Rope.Run(keys.AsSpan(t * keyWidth, keyWidth), _rope.Cos(first + t), _rope.Sin(first + t));
            }

            after.Add(layer, keys);
        });
    }

    /// <summary>Positions that are looked at: pairs (p, p + 1), spread over the second half of the sequence.</summary>
    private int[] Positions(int length) =>
        [.. Enumerable.Range(0, _rows).Select(i => (length / 2) + (i / 2 * ((length / 2) - 2) / Math.Max(1, (_rows / 2) - 1)) + (i % 2))];

    private SequenceAttention[] Attention(int[] sequence)
    {
        int queryWidth = _model.QueryWidth, width = queryWidth + _model.KeyWidth;
        var positions = Positions(sequence.Length);
        SequenceAttention[] layers = [.. Enumerable.Range(0, _model.LayerCount).Select(_ => new SequenceAttention(positions, new float[sequence.Length * _model.KeyWidth], new float[_rows * queryWidth]))];
        _backend.Visit(sequence, (layer, first, rows) =>
        {
            for (var t = 0; t < rows.Length / width; t++)
            {
                var row = rows.Slice(t * width, width);
                row[queryWidth..].CopyTo(layers[layer].Keys.AsSpan((first + t) * _model.KeyWidth));
                for (var i = Array.IndexOf(positions, first + t); i >= 0; i = Array.IndexOf(positions, first + t, i + 1))
                {
                    row[..queryWidth].CopyTo(layers[layer].Queries.AsSpan(i * queryWidth));
                }
            }
        });
        return layers;
    }

    private void Look(SequenceAttention attention, SymmetricEigen basis, int[] sweep, MassSums sums)
    {
        var d = _model.KeyWidth;
        var length = attention.Keys.Length / d;
        var vectors = new float[basis.Vectors.Length];
        TensorPrimitives.ConvertTruncating<double, float>(basis.Vectors, vectors);
        // the whole rotation: leading coordinates are what any rank would store
        var latents = new float[length * d];
        var roped = (float[])attention.Keys.Clone();
        for (var t = 0; t < length; t++)
        {
            DenseAttend.Score(attention.Keys.AsSpan(t * d, d), vectors, d, latents.AsSpan(t * d, d));
            Rope.Run(roped.AsSpan(t * d, d), _rope.Cos(t), _rope.Sin(t));
        }

        HashSet<int> last = [];
        for (var i = 0; i < attention.Positions.Length; i++)
        {
            var row = new AttentionRow(_model, _spec, attention.Positions[i], attention.Queries.AsSpan(i * _model.QueryWidth, _model.QueryWidth).ToArray(), _rope, roped, latents, vectors);
            var selected = sums.Add(row, _spec.ScoreRank, sweep);
            if (i % 2 == 1 && selected.Count > 0)
            {
                // tokens that became candidates in between could not have been selected before
                sums.AddOverlap(selected.Count(last.Contains) / (double)Math.Min(selected.Count, last.Count));
            }

            last = [.. selected];
        }
    }

    /// <param name="Keys">[T, HK, DH] before rope.</param>
    /// <param name="Queries">[positions, HQ, DH] before rope.</param>
    private sealed record SequenceAttention(int[] Positions, float[] Keys, float[] Queries);
}
