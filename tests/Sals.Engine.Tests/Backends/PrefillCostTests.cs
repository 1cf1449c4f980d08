using Sals.Engine.Backends;
using Xunit;

namespace Sals.Engine.Tests.Backends;

public sealed class PrefillCostTests
{
    // 1,024 tokens a chunk, timed at 256, 512, 768 and 1,024
    private static readonly PrefillCost Cost = new(1024, [0.3, 0.45, 0.6, 0.75], 1e-6);

    [Theory]
    [InlineData(1, 0.3)]
    [InlineData(256, 0.3)]
    [InlineData(257, 0.45)]
    [InlineData(1023, 0.75)]
    [InlineData(1024, 0.75)]
    public void A_chunk_costs_what_the_next_timed_size_does(int tokens, double expected) => Assert.Equal(expected, Cost.Milliseconds(0, tokens), 9);

    [Fact]
    public void Chunks_behind_others_attend_to_them()
    {
        // the second chunk stands behind 1,024 tokens, the tail of 10 behind 2,048
        Assert.Equal(0.75 + 0.75 + (1024 * 1024 * 1e-6) + 0.3 + (10 * 2048 * 1e-6), Cost.Milliseconds(0, 2058), 9);
        Assert.Equal(0.75 + (1024 * 65536 * 1e-6), Cost.Milliseconds(65536, 66560), 9);
    }

    [Fact]
    public void A_prompt_costs_the_same_however_it_is_cut_at_chunks()
    {
        var whole = Cost.Milliseconds(0, 10_000);
        Assert.Equal(whole, Cost.Milliseconds(0, 3072) + Cost.Milliseconds(3072, 8192) + Cost.Milliseconds(8192, 10_000), 9);
    }

    [Fact]
    public void Linear_time_counts_each_token_and_each_pair_once()
    {
        var cost = PrefillCost.Linear(0.5, 0.001);
        Assert.Equal((100 * 0.5) + (0.001 * ((50 * 100) + (100 * 99 / 2))), cost.Milliseconds(50, 150), 9);
    }
}
