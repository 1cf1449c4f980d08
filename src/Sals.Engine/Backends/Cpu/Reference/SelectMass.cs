namespace Sals.Engine.Backends.Cpu.Reference;

/// <summary>How many candidates hold a share of the probability that their scores give them: a row whose scores are peaked needs few, one whose scores are flat many.</summary>
internal static class SelectMass
{
    /// <summary>
    /// The least k such that the k largest of n numbers softmax(scale * score) sum to at least <paramref name="share"/>, clamped to least..most and to n. Summed in double
    /// in descending order, so the number depends on the scores alone, not on where they stand; equal scores count one by one, and which of them are selected is
    /// <see cref="ScoreSelect.Select"/>'s rule. Scores that are not a number hold nothing.
    /// </summary>
    /// <param name="keys">[n] of <see cref="ScoreSelect.OrderedKey(float)"/>; sorted when the call returns.</param>
    /// <param name="share">Over 0, below 1.</param>
    public static int Count(Span<uint> keys, double share, double scale, int least, int most)
    {
        keys.Sort();
        most = Math.Min(most, keys.Length);
        if (least >= most)
        {
            return most;
        }

        var largest = ScoreSelect.ScoreOf(keys[^1]);
        double total = 0, sum = 0;
        for (var i = keys.Length - 1; i >= 0; i--)
        {
            total += Weight(keys[i]);
        }

        var count = 0;
        while (count < most && (count < least || sum < share * total))
        {
            sum += Weight(keys[keys.Length - 1 - count++]);
        }

        return count;

        double Weight(uint key) => key == 0 ? 0 : ScoreSelect.ScoreOf(key) == largest ? 1 : Math.Exp(scale * ((double)ScoreSelect.ScoreOf(key) - largest));
    }
}
