using Sals.Engine.Scheduling;
using Xunit;

namespace Sals.Engine.Tests.Backends;

/// <summary>What one row sampled, compared bit for bit: log-probabilities stand for the logits.</summary>
public sealed class RowSample : IEquatable<RowSample>
{
    public RowSample(StepResult result, int row)
    {
        Token = result.Tokens[row];
        LogProbability = result.LogProbabilities[row];
        TopIds = result.TopIds.AsSpan(row * StepResult.MaxTop, 5).ToArray();
        Top = result.TopLogProbabilities.AsSpan(row * StepResult.MaxTop, 5).ToArray();
        Assert.All(Top, x => Assert.True(float.IsFinite(x)));
    }

    public int Token { get; }

    public float LogProbability { get; }

    public int[] TopIds { get; }

    public float[] Top { get; }

    public bool Equals(RowSample? other) =>
        other is not null && Token == other.Token && LogProbability == other.LogProbability && TopIds.SequenceEqual(other.TopIds) && Top.SequenceEqual(other.Top);

    public override bool Equals(object? obj) => Equals(obj as RowSample);

    public override int GetHashCode() => HashCode.Combine(Token, LogProbability);

    public override string ToString() => $"{Token} ({LogProbability:R}) of {string.Join(' ', TopIds)}";
}
