namespace Sals.Engine.Models;

/// <summary>Finds every tensor of a model in its checkpoint: all of them, or one error that says what is wrong.</summary>
public static class ModelLoader
{
    /// <summary>Checks the checkpoint against the configuration and returns views of its tensors; nothing is copied.</summary>
    /// <param name="checkpoint">Opened files; the weights own them from now on, and they are closed when this throws.</param>
    /// <param name="config">What the model must look like.</param>
    /// <exception cref="ModelLoadException">
    /// Tensors are missing, of another shape, of a type that is not read, or there are some the model has no use for, which
    /// would mean that the configuration describes another model.
    /// </exception>
    public static ModelWeights Load(Checkpoint checkpoint, ModelConfig config)
    {
        try
        {
            RequiredWeight[] required = [.. WeightMap.Of(config)];
            Check(checkpoint, config, required);

            return Assemble(config, required, weight => checkpoint.Tensor(weight.Name), checkpoint);
        }
        catch
        {
            checkpoint.Dispose();
            throw;
        }
    }

    /// <summary>Puts tensors in their places.</summary>
    /// <param name="files">What the tensors lie in, owned by the weights from now on.</param>
    internal static ModelWeights Assemble(ModelConfig config, RequiredWeight[] required, Func<RequiredWeight, Tensor> tensor, IDisposable files)
    {
        var byLayer = required.ToLookup(weight => weight.Layer);
        var outside = Take(-1);
        var embedding = outside[WeightRole.Embedding];
        var layers = new LayerWeights[config.LayerCount];
        for (int layer = 0; layer < layers.Length; layer++)
        {
            layers[layer] = Layer(Take(layer));
        }

        var head = config.TiedEmbeddings ? embedding : outside[WeightRole.Head];
        return new ModelWeights(config, embedding, layers, outside[WeightRole.FinalNorm], head, files);

        Dictionary<WeightRole, Tensor> Take(int layer)
        {
            return byLayer[layer].ToDictionary(weight => weight.Role, tensor);
        }
    }

    private static void Check(Checkpoint checkpoint, ModelConfig config, RequiredWeight[] required)
    {
        string[] missing = [.. required.Where(weight => !checkpoint.Contains(weight.Name)).Select(weight => weight.Name)];
        if (missing.Length > 0)
        {
            string hint = missing is ["lm_head.weight"] ? " (a model with tied embeddings says tie_word_embeddings in config.json)" : "";
            throw new ModelLoadException(
                checkpoint.Folder, null, $"{required.Length} tensors of a {config.Architecture} model", $"{missing.Length} missing: {Checkpoint.FirstOf(missing)}{hint}");
        }

        string[] misshapen =
        [
            .. from weight in required
               let entry = checkpoint.Entry(weight.Name)
               where !entry.Shape.SequenceEqual(weight.Shape.Select(size => (long)size))
               select $"{weight.Name} is {entry.ShapeText} and should be [{string.Join(", ", weight.Shape)}]",
        ];
        if (misshapen.Length > 0)
        {
            throw new ModelLoadException(
                checkpoint.Folder, null, "the shapes that config.json implies", $"{misshapen.Length} others: {Checkpoint.FirstOf(misshapen)}");
        }

        string[] unread =
        [
            .. from weight in required
               let entry = checkpoint.Entry(weight.Name)
               where entry.Type is not (SafetensorsType.F32 or SafetensorsType.F16 or SafetensorsType.BF16)
               select $"{weight.Name} is {entry.Type}",
        ];
        if (unread.Length > 0)
        {
            throw new ModelLoadException(
                checkpoint.Folder, null, "tensors of type F32, F16 or BF16", $"{unread.Length} others: {Checkpoint.FirstOf(unread)}");
        }

        string[] extra =
        [
            .. checkpoint.Names.Except(required.Select(weight => weight.Name)).Where(name => !WeightMap.MayIgnore(name, config)).Order(StringComparer.Ordinal),
        ];
        if (extra.Length > 0)
        {
            throw new ModelLoadException(
                checkpoint.Folder, null, $"only tensors that a {config.Architecture} model as in config.json has", $"{extra.Length} more: {Checkpoint.FirstOf(extra)}");
        }
    }

    private static LayerWeights Layer(Dictionary<WeightRole, Tensor> tensors)
    {
        return new LayerWeights
        {
            InputNorm = tensors[WeightRole.InputNorm],
            Query = tensors[WeightRole.Query],
            Key = tensors[WeightRole.Key],
            Value = tensors[WeightRole.Value],
            Output = tensors[WeightRole.Output],
            PostAttentionNorm = tensors[WeightRole.PostAttentionNorm],
            Gate = tensors[WeightRole.Gate],
            Up = tensors[WeightRole.Up],
            Down = tensors[WeightRole.Down],
            QueryBias = tensors.GetValueOrDefault(WeightRole.QueryBias),
            KeyBias = tensors.GetValueOrDefault(WeightRole.KeyBias),
            ValueBias = tensors.GetValueOrDefault(WeightRole.ValueBias),
            OutputBias = tensors.GetValueOrDefault(WeightRole.OutputBias),
            GateBias = tensors.GetValueOrDefault(WeightRole.GateBias),
            UpBias = tensors.GetValueOrDefault(WeightRole.UpBias),
            DownBias = tensors.GetValueOrDefault(WeightRole.DownBias),
            QueryNorm = tensors.GetValueOrDefault(WeightRole.QueryNorm),
            KeyNorm = tensors.GetValueOrDefault(WeightRole.KeyNorm),
        };
    }
}
