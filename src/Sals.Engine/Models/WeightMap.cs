using System.Globalization;
using System.Text.RegularExpressions;

namespace Sals.Engine.Models;

/// <summary>What a tensor is for; the members of <see cref="ModelWeights"/> and <see cref="LayerWeights"/>.</summary>
public enum WeightRole
{
    Embedding,
    FinalNorm,
    Head,
    InputNorm,
    Query,
    Key,
    Value,
    Output,
    PostAttentionNorm,
    Gate,
    Up,
    Down,
    QueryBias,
    KeyBias,
    ValueBias,
    OutputBias,
    GateBias,
    UpBias,
    DownBias,
    QueryNorm,
    KeyNorm,
}

/// <summary>A tensor that a model needs.</summary>
/// <param name="Role">Where it goes.</param>
/// <param name="Layer">Layer index; -1 outside the layers.</param>
/// <param name="Name">Name in the checkpoint.</param>
/// <param name="Shape">[out, in] or [size].</param>
public sealed record RequiredWeight(WeightRole Role, int Layer, string Name, int[] Shape);

/// <summary>
/// Checkpoint names of every tensor a <see cref="ModelConfig"/> needs. The four architectures share their names and differ in which
/// biases and norms exist, so one table with conditions describes them all.
/// </summary>
public static partial class WeightMap
{
    private static readonly Row[] ModelRows =
    [
        new(WeightRole.Embedding, "model.embed_tokens.weight", c => [c.VocabularySize, c.HiddenSize]),
        new(WeightRole.FinalNorm, "model.norm.weight", c => [c.HiddenSize]),
        new(WeightRole.Head, "lm_head.weight", c => [c.VocabularySize, c.HiddenSize], c => !c.TiedEmbeddings),
    ];

    private static readonly Row[] LayerRows =
    [
        new(WeightRole.InputNorm, "input_layernorm.weight", c => [c.HiddenSize]),
        new(WeightRole.Query, "self_attn.q_proj.weight", c => [c.QueryWidth, c.HiddenSize]),
        new(WeightRole.Key, "self_attn.k_proj.weight", c => [c.KeyWidth, c.HiddenSize]),
        new(WeightRole.Value, "self_attn.v_proj.weight", c => [c.KeyWidth, c.HiddenSize]),
        new(WeightRole.Output, "self_attn.o_proj.weight", c => [c.HiddenSize, c.QueryWidth]),
        new(WeightRole.PostAttentionNorm, "post_attention_layernorm.weight", c => [c.HiddenSize]),
        new(WeightRole.Gate, "mlp.gate_proj.weight", c => [c.IntermediateSize, c.HiddenSize]),
        new(WeightRole.Up, "mlp.up_proj.weight", c => [c.IntermediateSize, c.HiddenSize]),
        new(WeightRole.Down, "mlp.down_proj.weight", c => [c.HiddenSize, c.IntermediateSize]),
        new(WeightRole.QueryBias, "self_attn.q_proj.bias", c => [c.QueryWidth], c => c.QueryKeyValueBias),
        new(WeightRole.KeyBias, "self_attn.k_proj.bias", c => [c.KeyWidth], c => c.QueryKeyValueBias),
        new(WeightRole.ValueBias, "self_attn.v_proj.bias", c => [c.KeyWidth], c => c.QueryKeyValueBias),
        new(WeightRole.OutputBias, "self_attn.o_proj.bias", c => [c.HiddenSize], c => c.OutputBias),
        new(WeightRole.GateBias, "mlp.gate_proj.bias", c => [c.IntermediateSize], c => c.MlpBias),
        new(WeightRole.UpBias, "mlp.up_proj.bias", c => [c.IntermediateSize], c => c.MlpBias),
        new(WeightRole.DownBias, "mlp.down_proj.bias", c => [c.HiddenSize], c => c.MlpBias),
        new(WeightRole.QueryNorm, "self_attn.q_norm.weight", c => [c.HeadSize], c => c.QueryKeyNorm),
        new(WeightRole.KeyNorm, "self_attn.k_norm.weight", c => [c.HeadSize], c => c.QueryKeyNorm),
    ];

    /// <summary>Every tensor of the model: those outside the layers, then layer by layer.</summary>
    public static IEnumerable<RequiredWeight> Of(ModelConfig config)
    {
        foreach (var row in ModelRows.Where(row => row.Applies(config)))
        {
            yield return new RequiredWeight(row.Role, -1, row.Name, row.Shape(config));
        }

        for (int layer = 0; layer < config.LayerCount; layer++)
        {
            foreach (var row in LayerRows.Where(row => row.Applies(config)))
            {
                string name = string.Create(CultureInfo.InvariantCulture, $"model.layers.{layer}.{row.Name}");
                yield return new RequiredWeight(row.Role, layer, name, row.Shape(config));
            }
        }
    }

    /// <summary>
    /// A tensor the model does not need and may have: rotary tables stored by old versions, scales of someone's 8-bit cache,
    /// a head beside tied embeddings (the embedding counts, as in transformers).
    /// </summary>
    public static bool MayIgnore(string name, ModelConfig config)
    {
        return HarmlessExtra().IsMatch(name) || (name == "lm_head.weight" && config.TiedEmbeddings);
    }

    [GeneratedRegex(@"\.(rotary_emb\.(inv_freq|cos_cached|sin_cached)|[kv]_scale|attn\.[kv]_scale)$", RegexOptions.CultureInvariant)]
    private static partial Regex HarmlessExtra();

    private sealed record Row(WeightRole Role, string Name, Func<ModelConfig, int[]> Shape, Func<ModelConfig, bool>? When = null)
    {
        public bool Applies(ModelConfig config) => When is null || When(config);
    }
}
