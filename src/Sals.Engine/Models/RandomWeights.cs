namespace Sals.Engine.Models;

/// <summary>Where weights come from (--load-format, as in vLLM).</summary>
public enum LoadFormat
{
    /// <summary>The folder's safetensors files.</summary>
    Auto,

    /// <summary>Random numbers in the shapes of config.json: for measuring without a checkpoint.</summary>
    Dummy,
}

/// <summary>
/// Random weights of a configuration, scaled as at initialisation so that activations neither vanish nor explode: deviation 1 / sqrt(inputs), for the two
/// matrices of a layer that add to the residual stream over sqrt(2 L) more; biases 0.02; gains of norms 1.
/// </summary>
public static class RandomWeights
{
    private const uint Seed = 0x5A15;

    /// <exception cref="ModelLoadException">A tensor would have an odd number of elements.</exception>
    public static ModelWeights Of(ModelConfig config)
    {
        return ModelLoader.Assemble(config, [.. WeightMap.Of(config)], Make, new NoFiles());

        Tensor Make(RequiredWeight weight)
        {
            var (rows, columns) = weight.Shape.Length == 1 ? (1, weight.Shape[0]) : (weight.Shape[0], weight.Shape[1]);
            return weight.Role switch
            {
                WeightRole.InputNorm or WeightRole.PostAttentionNorm or WeightRole.FinalNorm or WeightRole.QueryNorm or WeightRole.KeyNorm =>
                    new ComputedTensor(weight.Name, [.. Enumerable.Repeat(1f, columns)], 1, columns),
                WeightRole.Output or WeightRole.Down => Random(1 / Math.Sqrt(2.0 * config.LayerCount * columns)),
                _ => Random(rows == 1 ? 0.02 : 1 / Math.Sqrt(columns)),
            };

            Tensor Random(double deviation) => (long)rows * columns % 2 == 0
                ? new RandomTensor(weight.Name, rows, columns, (float)deviation, Seed)
                : throw new ModelLoadException(weight.Name, null, "an even number of elements for random weights", $"{rows} x {columns}");
        }
    }

    private sealed class NoFiles : IDisposable
    {
        public void Dispose()
        {
        }
    }
}
