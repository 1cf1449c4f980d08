namespace Sals.Engine.Paging;

/// <summary>The three kinds of cache page. A pool without layers does not exist and its page tables stay empty.</summary>
public enum PoolKind
{
    /// <summary>Exact keys after rope and values of the layers that are never compressed.</summary>
    Dense = 0,

    /// <summary>Exact keys after rope and values of the compressible layers: sink page, recent window, short sequences.</summary>
    Hot = 1,

    /// <summary>Latent keys before rope and quantised values of the compressible layers.</summary>
    Latent = 2,
}

public static class PoolKinds
{
    public const int Count = 3;

    public static readonly PoolKind[] All = [PoolKind.Dense, PoolKind.Hot, PoolKind.Latent];
}
