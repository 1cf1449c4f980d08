using System.Security.Cryptography;
using System.Text;

namespace Sals.Engine.Models;

/// <summary>
/// A short name for "these weights": SHA-256 over the model's sizes, and for every tensor its role, type, shape and up to 8 evenly spaced rows. Fine-tuning or
/// merging changes whole tensors, so a sample tells models apart without reading gigabytes.
/// </summary>
public static class ModelFingerprint
{
    private const int SampledRows = 8;

    /// <summary>16 lower-case hexadecimal digits.</summary>
    public static string Of(ModelWeights weights)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        var c = weights.Config;
        AddText(hash, string.Create(System.Globalization.CultureInfo.InvariantCulture,
            $"{c.Architecture} {c.LayerCount} {c.HiddenSize} {c.IntermediateSize} {c.VocabularySize} {c.HeadCount} {c.KeyValueHeadCount} {c.HeadSize} {c.RmsNormEpsilon:R} {c.QueryKeyNorm} {c.Rope}"));
        Add(hash, "embedding", weights.Embedding);
        for (var i = 0; i < weights.Layers.Length; i++)
        {
            var layer = weights.Layers[i];
            AddText(hash, $"layer {i}");
            Add(hash, "input norm", layer.InputNorm);
            Add(hash, "query", layer.Query);
            Add(hash, "key", layer.Key);
            Add(hash, "value", layer.Value);
            Add(hash, "output", layer.Output);
            Add(hash, "post norm", layer.PostAttentionNorm);
            Add(hash, "gate", layer.Gate);
            Add(hash, "up", layer.Up);
            Add(hash, "down", layer.Down);
            Add(hash, "query bias", layer.QueryBias);
            Add(hash, "key bias", layer.KeyBias);
            Add(hash, "value bias", layer.ValueBias);
            Add(hash, "query norm", layer.QueryNorm);
            Add(hash, "key norm", layer.KeyNorm);
        }

        Add(hash, "final norm", weights.FinalNorm);
        Add(hash, "head", weights.Head);
        return Convert.ToHexStringLower(hash.GetHashAndReset())[..16];
    }

    private static void Add(IncrementalHash hash, string role, Tensor? tensor)
    {
        if (tensor is null)
        {
            return;
        }

        AddText(hash, $"{role} {tensor.Type} {tensor.Rows} {tensor.Columns}");
        var rows = Math.Min(SampledRows, tensor.Rows);
        for (var i = 0; i < rows; i++)
        {
            hash.AppendData(tensor.RowBytes((int)((long)i * tensor.Rows / rows), 1));
        }
    }

    private static void AddText(IncrementalHash hash, string text) => hash.AppendData(Encoding.UTF8.GetBytes(text + "\n"));
}
