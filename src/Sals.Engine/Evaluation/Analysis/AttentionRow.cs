using System.Numerics.Tensors;
using Sals.Engine.Backends.Cpu.Reference;
using Sals.Engine.Latent;
using Sals.Engine.Models;
using Sals.Engine.Paging;

namespace Sals.Engine.Evaluation.Analysis;

/// <summary>One query row of one layer: its exact attention, and what selections keep of it.</summary>
internal sealed class AttentionRow
{
    private readonly ModelConfig _model;
    private readonly float[] _query;
    private readonly float[] _latents;
    private readonly float[] _vectors;
    private readonly float[] _mean;
    private readonly int _first;
    private readonly int _end;

    /// <param name="query">[HQ, DH] before rope.</param>
    /// <param name="roped">[T, HK, DH] keys after rope.</param>
    /// <param name="latents">[T, D] keys before rope in the basis' coordinates.</param>
    /// <param name="vectors">[D, D], one vector of the basis a row.</param>
    public AttentionRow(ModelConfig model, LatentSpec spec, int position, float[] query, RopeTable rope, float[] roped, float[] latents, float[] vectors)
    {
        (_model, _query, _latents, _vectors) = (model, query, latents, vectors);
        var length = position + 1;
        _first = CacheTimeline.SinkCount(length, spec);
        _end = CacheTimeline.WindowStart(length, spec);
        Budget = CacheTimeline.SelectedCount(length, spec);
        _mean = new float[length];
        var rotated = (float[])query.Clone();
        Rope.Run(rotated, rope.Cos(position), rope.Sin(position));
        var logits = new float[length];
        for (var head = 0; head < model.HeadCount; head++)
        {
            var own = rotated.AsSpan(head * model.HeadSize, model.HeadSize);
            for (var t = 0; t < length; t++)
            {
                logits[t] = TensorPrimitives.Dot(own, roped.AsSpan((t * model.KeyWidth) + (head / model.GroupSize * model.HeadSize), model.HeadSize)) / MathF.Sqrt(model.HeadSize);
            }

            TensorPrimitives.SoftMax(logits, logits);
            TensorPrimitives.MultiplyAdd(logits, 1f / model.HeadCount, _mean, _mean);
        }
    }

    /// <summary>Tokens that are selected of the candidates.</summary>
    public int Budget { get; }

    /// <summary>Probability on sinks and window, mean over heads.</summary>
    public double FixedMass => TensorPrimitives.Sum<float>(_mean.AsSpan(0, _first)) + TensorPrimitives.Sum<float>(_mean.AsSpan(_end));

    /// <summary><see cref="FixedMass"/> and what the selected tokens have.</summary>
    public double Mass(IEnumerable<int> selected) => FixedMass + selected.Sum(t => (double)_mean[t]);

    /// <summary>By the sum over heads of the logits without rope in the leading coordinates.</summary>
    public int[] BySum(int coordinates)
    {
        var summed = new float[_model.KeyWidth];
        ScoringQuery.SumGroups(_query, _model.GroupSize, _model.HeadSize, summed);
        var score = new float[coordinates];
        Project(summed, score);
        return Best(Scores(score));
    }

    /// <summary>By the best head, each head's logits in the leading coordinates standardised over the candidates.</summary>
    public int[] ByHeads(int coordinates)
    {
        var best = new float[_end - _first];
        best.AsSpan().Fill(float.NegativeInfinity);
        for (var head = 0; head < _model.HeadCount; head++)
        {
            var lifted = new float[_model.KeyWidth];
            _query.AsSpan(head * _model.HeadSize, _model.HeadSize).CopyTo(lifted.AsSpan(head / _model.GroupSize * _model.HeadSize));
            var query = new float[coordinates];
            Project(lifted, query);
            var scores = Scores(query);
            if (scores.Length == 0)
            {
                return [];
            }

            var mean = TensorPrimitives.Sum<float>(scores) / scores.Length;
            TensorPrimitives.Subtract(scores, mean, scores);
            var deviation = MathF.Sqrt(TensorPrimitives.SumOfSquares<float>(scores) / scores.Length);
            TensorPrimitives.Divide(scores, Math.Max(deviation, 1e-20f), scores);
            TensorPrimitives.Max(best, scores, best);
        }

        return Best(best);
    }

    /// <summary>By the true probability, mean over heads.</summary>
    public int[] ByOracle() => Best(_mean.AsSpan(_first, _end - _first).ToArray());

    private void Project(float[] summed, Span<float> score)
    {
        for (var i = 0; i < score.Length; i++)
        {
            score[i] = TensorPrimitives.Dot(_vectors.AsSpan(i * _model.KeyWidth, _model.KeyWidth), summed);
        }
    }

    private float[] Scores(float[] query)
    {
        var scores = new float[_end - _first];
        for (var t = 0; t < scores.Length; t++)
        {
            scores[t] = TensorPrimitives.Dot<float>(query, _latents.AsSpan((_first + t) * _model.KeyWidth, query.Length));
        }

        return scores;
    }

    private int[] Best(float[] scores)
    {
        var selected = new int[Math.Min(Budget, scores.Length)];
        ScoreSelect.Select([.. scores.Select(ScoreSelect.OrderedKey)], _first, selected);
        return selected;
    }
}
