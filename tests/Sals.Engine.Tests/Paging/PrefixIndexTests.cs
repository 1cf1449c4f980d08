using Sals.Engine.Paging;
using Xunit;

namespace Sals.Engine.Tests.Paging;

public class PrefixIndexTests
{
    private readonly PagePool[] _pools;
    private readonly PrefixIndex _index;

    public PrefixIndexTests()
    {
        var arena = new PageArena(8 * 65536, 65536, 8192);
        _pools = [new(PoolKind.Dense, 8192, arena), new(PoolKind.Hot, 8192, arena), new(PoolKind.Latent, 4096, arena)];
        _index = new PrefixIndex(_pools);
    }

    private static PrefixHash Hash(int number) => PrefixHash.Root("test", number.ToString());

    private int Add(int number)
    {
        var page = _pools[0].Allocate();
        _index.Add(Hash(number), page, 0, 0);
        return page;
    }

    [Fact]
    public void The_least_recently_used_unused_entry_goes_first()
    {
        var pages = Enumerable.Range(0, 3).Select(Add).ToArray();
        _pools[0].Release(pages[0]);
        _pools[0].Release(pages[1]);
        _index.Touch(_index.Find(Hash(0))!);

        // 2 is still used by somebody, 0 was touched: 1 goes, then 0, then nothing
        Assert.True(_index.GiveUpOne());
        Assert.Null(_index.Find(Hash(1)));
        Assert.True(_index.GiveUpOne());
        Assert.Null(_index.Find(Hash(0)));
        Assert.False(_index.GiveUpOne());
        Assert.NotNull(_index.Find(Hash(2)));
    }

    [Fact]
    public void An_entry_gains_a_latent_form_and_keeps_the_first_of_each()
    {
        var hot = _pools[1].Allocate();
        var latent = _pools[2].Allocate();
        var second = _pools[2].Allocate();
        _index.Add(Hash(1), 0, hot, 0);
        _index.Add(Hash(1), 0, 0, latent);
        _index.Add(Hash(1), 0, 0, second);
        var entry = _index.Find(Hash(1))!;
        Assert.Equal((0, hot, latent), (entry[PoolKind.Dense], entry[PoolKind.Hot], entry[PoolKind.Latent]));
        Assert.Equal(2, _pools[2].References(latent));
        Assert.Equal(1, _pools[2].References(second));
    }

    [Fact]
    public void Hashes_depend_on_parent_tokens_salt_and_fingerprint()
    {
        var tokens = Enumerable.Range(0, PageLayout.PageSize).ToArray();
        var other = tokens.ToArray();
        other[63]++;
        var root = PrefixHash.Root("model", null);
        var hashes = new[]
        {
            root.Next(tokens), root.Next(other), root.Next(tokens).Next(tokens), PrefixHash.Root("model", "").Next(tokens),
            PrefixHash.Root("model", "salt").Next(tokens), PrefixHash.Root("model2", null).Next(tokens), PrefixHash.Root("mode", "l").Next(tokens),
        };
        Assert.Equal(hashes.Length, hashes.Distinct().Count());
        Assert.Equal(root.Next(tokens), PrefixHash.Root("model", null).Next(tokens));
    }
}
