namespace Sals.Engine.Evaluation.Analysis;

/// <summary>Sums over the rows of one layer.</summary>
internal sealed class MassSums(int sweep)
{
    private readonly double[] _sweep = new double[sweep];
    private double _sum;
    private double _heads;
    private double _oracle;
    private double _fixed;
    private double _overlap;
    private int _rows;
    private int _pairs;

    /// <summary>Adds a row; gives what the sum of logits selects.</summary>
    public IReadOnlyCollection<int> Add(AttentionRow row, int coordinates, int[] sweepRanks)
    {
        var selected = row.BySum(coordinates);
        _sum += row.Mass(selected);
        _heads += row.Mass(row.ByHeads(coordinates));
        _oracle += row.Mass(row.ByOracle());
        _fixed += row.FixedMass;
        for (var i = 0; i < sweepRanks.Length; i++)
        {
            _sweep[i] += row.Mass(row.BySum(sweepRanks[i]));
        }

        _rows++;
        return selected;
    }

    public void AddOverlap(double share)
    {
        _overlap += share;
        _pairs++;
    }

    public LayerAnalysis ToLayer(int layer, double[] before, double[] after, double meanEnergy, int suggestedRank) => new()
    {
        Layer = layer,
        SpectrumBeforeRope = before,
        SpectrumAfterRope = after,
        MeanEnergy = meanEnergy,
        SumMass = _sum / _rows,
        HeadMass = _heads / _rows,
        OracleMass = _oracle / _rows,
        FixedMass = _fixed / _rows,
        SweepMass = [.. _sweep.Select(mass => mass / _rows)],
        Overlap = _pairs > 0 ? _overlap / _pairs : 0,
        SuggestedRank = suggestedRank,
        SuggestDense = _sum / _rows < ModelAnalysis.LeastMass && _sum < _oracle,
    };
}
