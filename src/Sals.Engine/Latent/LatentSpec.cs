namespace Sals.Engine.Latent;

/// <summary>
/// Which layers keep exact keys and values and which are compressed. This is all the cache settings there are; both backends
/// and the scheduler read the same record.
/// </summary>
public sealed record LatentSpec
{
    /// <summary>Nothing is compressed: every layer is a dense layer and only the dense pool exists.</summary>
    public static LatentSpec Dense(int layerCount) => new() { Name = "dense", DenseLayers = [.. Enumerable.Range(0, layerCount)], LayerCount = layerCount };

    /// <summary>Name of the preset, as in --kv-cache.</summary>
    public required string Name { get; init; }

    /// <summary>L of the model.</summary>
    public required int LayerCount { get; init; }

    /// <summary>Layers that are never compressed, ascending.</summary>
    public required int[] DenseLayers { get; init; }

    /// <summary>Layers whose keys become latent, ascending: the complement of <see cref="DenseLayers"/>.</summary>
    public int[] SparseLayers => [.. Enumerable.Range(0, LayerCount).Except(DenseLayers)];
}
