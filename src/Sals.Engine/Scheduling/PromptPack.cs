namespace Sals.Engine.Scheduling;

/// <summary>
/// Whole prompts that lie one behind the other in a lane and are at most a chunk together: a backend may take them through a layer as one chunk, since products
/// treat every row alike; only attention and pages are each prompt's own. A short prompt alone reads the weights as a full chunk does.
/// </summary>
public static class PromptPack
{
    /// <summary>How many of the first slices are one pack; at least 1.</summary>
    /// <param name="slices">Not empty, in plan order.</param>
    /// <param name="chunk">Tokens that go through a layer together.</param>
    public static int Count(ReadOnlySpan<PrefillSlice> slices, int chunk)
    {
        ref readonly var first = ref slices[0];
        var rows = first.EndToken - first.FirstToken;
        var count = 1;
        if (first.FirstToken != first.HistoryLength || first.EndToken != first.PromptLength)
        {
            return count;
        }

        var end = first.LaneOffset + first.PromptLength;
        for (; count < slices.Length; count++)
        {
            ref readonly var slice = ref slices[count];
            rows += slice.PromptLength;
            if (slice.Lane != first.Lane || slice.LaneOffset != end || slice.FirstToken != 0 || slice.EndToken != slice.PromptLength
                || slice.FirstLayer != first.FirstLayer || slice.EndLayer != first.EndLayer || rows > chunk)
            {
                break;
            }

            end += slice.PromptLength;
        }

        return count;
    }
}
