using Sals.Engine;
using Sals.Engine.Backends;
using Sals.Engine.Latent;
using Sals.Server.Api;
using Xunit;

namespace Sals.Server.Tests.Api;

public class CacheUseTests
{
    private static readonly BackendInfo Info = new()
    {
        Name = "fake",
        VocabularySize = 10,
        LayerCount = 8,
        SlotCount = 1,
        MaxModelLength = 4096,
        LookAhead = 0,
        CacheBytes = 1 << 20,
        SlabBytes = 1 << 18,
        Spec = new LatentSpec { Name = "sals-25", LayerCount = 8, DenseLayers = [0, 1, 7] },
        PageBytes = [3 * 64, 5 * 64, 64],
        ExactPageBytes = 8 * 64,
        CacheTokens = 1,
        LaneLengths = [1],
        PrefillChunk = 1,
        PrefillCost = PrefillCost.Linear(0, 0),
    };

    [Fact]
    public void Shares_counts_and_bytes_per_token()
    {
        var trace = new GenerationTrace
        {
            DecodedTokens = 100,
            SparseTokens = 50,
            SparseLayerTokens = 250,
            ScoredLayerTokens = 20,
            FlushedPages = 2,
            CacheTokens = 320,
            CachePages = new PageCounts(5, 3, 5),
        };
        Assert.Equal(
            " sparse_tokens=0.500 sparse_pairs=0.313 selections=20 flushes=2 dense_bytes=3 hot_bytes=3 latent_bytes=1", Generation.CacheUse(trace, Info));
    }

    [Fact]
    public void Nothing_for_a_dense_cache_or_a_request_that_decoded_nothing()
    {
        Assert.Equal("", Generation.CacheUse(new GenerationTrace { DecodedTokens = 5 }, Info with { Spec = LatentSpec.Dense(8) }));
        Assert.Equal("", Generation.CacheUse(new GenerationTrace(), Info));
    }
}
